"""Draw scenes of an embedded benchmark with their questions, for docs/tiny_model.md.

python tests/scenes_picture.py docs/images/shapes.png
python tests/scenes_picture.py docs/images/shapes_2.png
python tests/scenes_picture.py docs/images/shapes_next.png
"""

from __future__ import annotations

import sys
import textwrap
from itertools import islice
from pathlib import Path

from matplotlib.figure import Figure

from script_exp.analysis.figures.style import FULL_WIDTH, style
from script_exp.shapes.next_scenes import NEXT_WORLD
from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.scenes import Scene
from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.shapes.world import Question

SHOWN = {
    "shapes": (FIRST_WORLD, 20264, 6),
    "shapes_2": (SECOND_WORLD, 20266, 3),
    "shapes_next": (NEXT_WORLD, 20267, 0),
}
"""World, seed and first scene (sparse, then medium and dense, without "a orange") of each benchmark."""
_MARGIN, _GAP = 0.05, 0.1  # inches
_SIZE, _SPACING = 8, 1.3  # points; between two lines


def shown_scenes(benchmark: str) -> list[tuple[Scene, list[Question]]]:
    """Three scenes with all their questions."""
    world, seed, first = SHOWN[benchmark]
    return list(islice(world.held_out(seed, first + 3), first, None))


def scenes_figure(benchmark: str) -> Figure:
    """Draw the scenes side by side, with questions and answers below them."""
    scenes = shown_scenes(benchmark)
    side = (FULL_WIDTH - 2 * _MARGIN - (len(scenes) - 1) * _GAP) / len(scenes)
    texts = [
        [
            line
            for question in questions
            for line in textwrap.wrap(f"{question.text} {question.answer}", 36, subsequent_indent="    ")
        ]
        for _, questions in scenes
    ]
    below = (max(map(len, texts)) + 1) * _SIZE * _SPACING / 72
    height = side + below + 2 * _MARGIN
    figure = Figure(figsize=(FULL_WIDTH, height))
    for place, ((scene, _), lines) in enumerate(zip(scenes, texts, strict=True)):
        left = (_MARGIN + place * (side + _GAP)) / FULL_WIDTH
        bottom = (_MARGIN + below) / height
        axes = figure.add_axes((left, bottom, side / FULL_WIDTH, side / height))
        axes.imshow(scene.image, interpolation="nearest")
        axes.set_axis_off()
        figure.text(
            left, bottom - 0.08 / height, "\n".join(lines), va="top", size=_SIZE, linespacing=_SPACING
        )
    return figure


if __name__ == "__main__":
    with style():
        scenes_figure(Path(sys.argv[1]).stem).savefig(sys.argv[1])

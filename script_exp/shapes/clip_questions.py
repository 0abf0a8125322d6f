"""Questions about clips with one-word answers that take one moment, a count over time, or an order."""

from __future__ import annotations

from collections.abc import Iterator

from script_exp.shapes.clips import Clip, plan_clip
from script_exp.shapes.questions import NUMBERS
from script_exp.shapes.world import Question

CLIP_KINDS = ("moment", "count", "order")
"""Kinds of questions, one of each about every clip."""


def ask_clip(clip: Clip, reverse: bool) -> list[Question]:
    """Return one question of each kind; their ``objects`` are indices into :attr:`Clip.actors`.

    Args:
        clip: what is asked about.
        reverse: whether the question about the order names the later object first.
    """
    looks = [actor.look for actor in clip.actors]
    moment, counted = looks[clip.moment], looks[clip.counted[0]].color
    earlier, later = (looks[index].color for index in clip.ordered)
    one, other = (later, earlier) if reverse else (earlier, later)
    return [
        Question("moment", f"what color is the {moment.shape}?", moment.color, (clip.moment,)),
        Question("count", f"how many {counted} objects are there?", NUMBERS[len(clip.counted)], clip.counted),
        Question(
            "order", f"which comes first, the {one} object or the {other} object?", earlier, clip.ordered
        ),
    ]


def made_clips(seed: int, clips: int, length: int) -> Iterator[tuple[Clip, list[Question]]]:
    """Yield planned clips with their questions.

    Every second clip has a cut; with and without one, the later object is named first in every second.
    """
    for number in range(clips):
        clip = plan_clip(seed, number, length)
        yield clip, ask_clip(clip, reverse=number % 4 >= 2)

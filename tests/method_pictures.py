"""Draw what each method keeps of one scene, for the sheets in docs/methods.md.

python tests/method_pictures.py outputs 20264-0016-2 docs/images/kept

``outputs`` holds one run per method on the embedded benchmark; those of methods inside the LLM have
``record_kept=true``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from script_exp.inspection.choose import answers, side_by_side
from script_exp.inspection.pictures import Gallery
from script_exp.results.overlay import kept_overlay
from script_exp.results.read import load_runs

_SIDE = 192  # pixels


def main(outputs: str, sample: str, folder: str) -> None:
    """Write a picture per method, named like it, and print their names."""
    runs = side_by_side(load_runs(Path(outputs)).frame)
    gallery = Gallery.open(runs, answers(runs))
    print(*gallery.problems, sep="\n")
    (shown,) = gallery.pictures([sample])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for group in shown.pruned:
        for answer in group:
            name = answer.method.split(",")[0].split(" ")[0]
            overlay = kept_overlay(shown.pictures, answer.kept, shown.grid)
            if overlay is None:
                raise ValueError(f"{name}: {shown.tokens} tokens are not a square grid")
            small = overlay.resize((_SIDE, _SIDE), Image.Resampling.NEAREST).quantize(255)
            small.save(Path(folder, f"{name}.png"), optimize=True)
            print(f"{name}: {answer.method} {sum(map(len, answer.kept))} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The embedded benchmark's questions, asked about pictures in the shape of photos."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from families import picture

from script_exp.benchmarks.shapes import Shapes

HEIGHT, WIDTH = 460, 640
PHOTOS = "benchmark._target_=photos.Photos"


class Photos(Shapes):
    """Shapes with 640 x 460 noise in place of the scenes: no crop of LLaVA-NeXT's is free of padding."""

    def samples(self):
        return [replace(sample, visual=partial(picture, HEIGHT, WIDTH)) for sample in super().samples()]

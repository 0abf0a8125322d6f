"""Frames of a video on their way from a benchmark to a model."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image


class Frames(list[Image.Image]):
    """Frames in order.

    Attributes:
        rate: how many were taken of a second; None if that is not known.
    """

    def __init__(self, images: Iterable[Image.Image], rate: float | None) -> None:
        super().__init__(images)
        self.rate = rate

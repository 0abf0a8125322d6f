"""The frames that a benchmark passes to a model, and how many of them a model takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from PIL import Image

from script_exp.errors import SettingError, check_number, check_whole


class Frames(list[Image.Image]):
    """Frames in order.

    Attributes:
        rate: frames taken per second; None if unknown.
    """

    def __init__(self, images: Iterable[Image.Image], rate: float | None) -> None:
        super().__init__(images)
        self.rate = rate


@dataclass(frozen=True)
class PerSecond:
    """A frame count in proportion to a video's length, as in Qwen2.5-VL (``smart_nframes`` of qwen-vl-utils).

    Attributes:
        fps: frames per second.
        min_frames: lower limit, for videos that have this many frames.
        max_frames: upper limit.
        multiple: the count is a multiple of this: ``min_frames`` is rounded up to one, all else down.

    Raises:
        SettingError: for an invalid number.
    """

    fps: float
    min_frames: int = 1
    max_frames: int = 768
    multiple: int = 1

    def __post_init__(self) -> None:
        check_number("frames.fps", self.fps, lambda rate: 0 < rate < math.inf, "a number > 0")
        check_whole("frames.multiple", self.multiple, lowest=1)
        check_whole("frames.min_frames", self.min_frames, lowest=1)
        check_whole("frames.max_frames", self.max_frames, lowest=max(self.min_frames, self.multiple))

    def count(self, shown: int, seconds: float) -> int:
        """Return how many frames to take of a video that shows ``shown`` in ``seconds``; at least one."""
        fewest = math.ceil(self.min_frames / self.multiple) * self.multiple
        # Time stamps of a video may give slightly less than a whole number.
        wanted = min(max(round(self.fps * seconds, 2), fewest), self.max_frames, shown)
        return max(1, int(wanted // self.multiple) * self.multiple)


FrameCount: TypeAlias = int | PerSecond
"""How many frames of a video a model gets: the same for every video, or by its length."""


def frame_count(setting: object) -> FrameCount:
    """Return the frame count for the setting ``frames``: a number, or the fields of :class:`PerSecond`.

    Raises:
        SettingError: if it is neither.
    """
    if isinstance(setting, Mapping):
        names = {field.name for field in fields(PerSecond)}
        if "fps" not in setting or not names.issuperset(setting):
            expected = "a whole number, or fps with min_frames, max_frames and multiple"
            raise SettingError("frames", setting, expected)
        return PerSecond(**setting)
    check_whole("frames", setting, lowest=1)
    return setting  # type: ignore[return-value]


def frame_setting(count: FrameCount) -> int | dict[str, Any]:
    """Return the setting that :func:`frame_count` reads."""
    return count if isinstance(count, int) else vars(count).copy()


def frames_to_take(count: FrameCount, shown: int, seconds: float) -> int:
    """Return how many frames to take of a video that shows ``shown`` in ``seconds``."""
    return count if isinstance(count, int) else count.count(shown, seconds)

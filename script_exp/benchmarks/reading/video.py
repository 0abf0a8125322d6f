"""What the video benchmarks share: multiple choice, a letter as the answer, evenly spaced frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any, ClassVar

from script_exp.benchmarks.reading.data import texts_of, within
from script_exp.benchmarks.reading.files import FolderBenchmark, Source
from script_exp.benchmarks.reading.frame_count import FrameCount, frame_count
from script_exp.errors import UserError

LEADS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
"""What lmms-eval removed before it looked for a letter: a comma was missing, so the last two never occur."""

_SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")


@dataclass(kw_only=True)
class VideoBenchmark(FolderBenchmark):
    """Multiple-choice questions about videos, with public answers.

    The query encoder gets the question with its options, as Script's released code does for multiple-choice
    questions about images.

    Attributes:
        data: the folder: a copy or snapshot of the hub data set, with its archives unpacked.
        protocol: only ``lmms``: the published video numbers were measured with lmms-eval.
        frames: evenly spaced frames of a video that the model gets: a number, or the fields of
            :class:`~script_exp.benchmarks.reading.frame_count.PerSecond`. None until a run has looked up what
            its model takes, which is then part of the run's identity.
    """

    protocol: str = "lmms"
    frames: int | dict[str, Any] | None = None

    modality: ClassVar[str] = "video"
    protocols: ClassVar[tuple[str, ...]] = ("lmms",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None:
            frame_count(self.frames)

    @property
    def frame_count(self) -> FrameCount:
        """How many frames of a video are loaded.

        Raises:
            SettingError: if ``frames`` is not set.
        """
        return frame_count(self.frames)

    @property
    def max_new_tokens(self) -> int:
        return 16

    @cached_property
    def source(self) -> Source:
        if self.question_file and self.json_files():
            return "json"
        if self.parquet and self.parquet_files(self.parquet):
            return "hub"
        raise self.nothing_found()

    def json_files(self) -> list[Path]:
        """Return the sorted annotation files, at most one folder down: below may be a million frames."""
        return sorted([*self.folder.glob(self.question_file), *self.folder.glob(f"*/{self.question_file}")])


def options_of(entry: Mapping[str, Any], key: str, place: str) -> list[str]:
    """Return the options of a question.

    Raises:
        UserError: unless they are two to 26 texts.
    """
    options = texts_of(entry, key, place)
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise UserError(f"{place}: {key}={options}: expected two to 26 texts")
    return options


def letter_of(answer: str, options: Sequence[str], place: str) -> str:
    """Return the letter of the first option that equals ``answer``.

    Raises:
        UserError: if none does.
    """
    if answer not in options:
        raise UserError(f"{place}: answer={answer!r}: expected one of {', '.join(map(repr, options))}")
    return ascii_uppercase[options.index(answer)]


def one_of_letters(answer: str, count: int, place: str) -> str:
    """Return ``answer``, which has to be one of the first ``count`` letters.

    Raises:
        UserError: if it is not.
    """
    letters = list(ascii_uppercase[:count])
    if answer not in letters:
        raise UserError(f"{place}: answer={answer!r}: expected one of {', '.join(letters)}")
    return answer


def first_letter(prediction: str, leads: Iterable[str], letters: str) -> str:
    """Return the first of ``letters`` in a prediction without its ``leads``; empty if there is none."""
    for lead in leads:
        prediction = prediction.replace(lead, "")
    found = re.search(f"[{letters}]", prediction)
    return found[0] if found else ""


def find_video(folder: Path, names: Iterable[str], place: str) -> str:
    """Return the first of ``names`` that exists in ``folder``, or else the first; missing suffixes are tried.

    Raises:
        UserError: if a name leads out of the folder.
    """
    names = [name + suffix for name in names for suffix in _suffixes(name)]
    paths = {name: within(folder, name, place) for name in names}
    return next((name for name, path in paths.items() if os.path.exists(path)), names[0])  # noqa: PTH110


def _suffixes(name: str) -> tuple[str, ...]:
    return ("",) if PurePosixPath(name).suffix in _SUFFIXES else (*_SUFFIXES, "")

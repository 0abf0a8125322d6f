"""Video-MME (Fu et al., 2024): 900 videos from eleven seconds to an hour, multiple choice.

Data:
    https://huggingface.co/datasets/lmms-eval/Video-MME: ``videomme/test-*.parquet``; the folder ``data`` with
    the videos, from ``videos_chunked_*.zip``; with ``subtitles``, the folder ``subtitle`` from
    ``subtitle.zip``. 2,700 questions.
Prompt:
    lmms-eval's since 0.3.0: "Select the best answer to the following multiple-choice question based on the
    video and the subtitles. ...", even without subtitles; the question; its four options; and, after an empty
    line, "Answer with the option's letter from the given choices directly." For LLaVA-NeXT-Video
    (``llava_vid``) the last line is "The best answer is:", without an empty one. With subtitles, those shown
    during one of the frames come first, and the last line is "The best answer is:" for every model. They are
    in the order of the video here; lmms-eval takes them from a Python set, in no defined order.
Rule:
    :func:`~script_exp.benchmarks.rules.choices.stated_letter`, as in lmms-eval 0.7.3;
    ``protocol_version=0.3.0`` (up to 0.7.1): the first capital from A to D, after phrases such as "The best
    answer is" are removed. Accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import ParquetTable, read_lines, value_of, within
from script_exp.benchmarks.reading.files import LMMS_EVAL, Source
from script_exp.benchmarks.reading.frame_count import FrameCount, frames_to_take
from script_exp.benchmarks.reading.frames import announced, video_frames
from script_exp.benchmarks.reading.video import (
    LEADS,
    VideoBenchmark,
    find_video,
    first_letter,
    one_of_letters,
    options_of,
)
from script_exp.benchmarks.rules.choices import LETTER_ANSWER, stated_letter
from script_exp.benchmarks.rules.metric import MeanByPart, Metric
from script_exp.errors import DataError, SettingError, UserError, check_choice

_BEFORE = (
    "Select the best answer to the following multiple-choice question based on the video and the subtitles. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
_BEST_ANSWER = "The best answer is:"
_OLD = "0.3.0"
_TIMES = re.compile(r"(\d+):(\d\d):(\d\d),(\d{3}) --> (\d+):(\d\d):(\d\d),(\d{3})")
_SHOWN = re.compile(r'<font color="white" size=".72c">(.*?)</font>')  # the part that lmms-eval takes


@dataclass(kw_only=True)
class VideoMme(VideoBenchmark):
    """Kinds are a video's length, its domain and the task; units are the videos.

    Attributes:
        prompt_for: the model that the prompt is worded for: ``default``, or ``llava_vid`` for
            LLaVA-NeXT-Video. None until a run has looked up its model.
        subtitles: whether the prompt has the subtitles that are shown during the model's frames.
    """

    prompt_for: str | None = None
    subtitles: bool = False

    name: ClassVar[str] = "videomme"
    prompt_version: ClassVar[int] = 1
    rule_version: ClassVar[int] = 2
    protocol_versions: ClassVar[Mapping[str, tuple[str, ...]]] = {"lmms": (LMMS_EVAL, _OLD)}
    question_file: ClassVar[str] = ""
    parquet: ClassVar[str] = "videomme/test-*.parquet"
    archives: ClassVar[Mapping[str, str]] = {"videos_chunked_*.zip": "data", "subtitle.zip": "subtitle"}
    home: ClassVar[str] = HOMES["videomme"].address
    counts: ClassVar[Mapping[Source, int]] = {"hub": 2_700}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(
            "prompt_for", self.prompt_for, (None, "default", "llava_vid"), "default, llava_vid or null"
        )
        check_choice("subtitles", self.subtitles, (True, False))

    @property
    def metric(self) -> Metric:
        return MeanByPart()

    def read(self) -> list[Sample]:
        if self.subtitles and not (self.folder / "subtitle").is_dir():
            raise SettingError(
                "benchmark.subtitles", True, f"the folder subtitle of subtitle.zip in {self.folder}"
            )
        columns = [
            "question_id",
            "videoID",
            "duration",
            "domain",
            "task_type",
            "question",
            "options",
            "answer",
        ]
        subtitles: dict[str, str] = {}  # of each video; there are three questions about it
        samples = []
        for place, row, _ in ParquetTable(self.parquet_files(self.parquet), columns):
            with self.entry(place):
                name = value_of(row, "videoID", place)
                options = options_of(row, "options", place)
                question = "\n".join([value_of(row, "question", place), *options])
                video = find_video(self.folder, [f"data/{name}"], place)
                if self.subtitles and name not in subtitles:
                    file = within(self.folder / "subtitle", f"{name}.srt", place)
                    subtitles[name] = _shown(file, self.folder / video, self.frame_count)
                samples.append(
                    Sample(
                        id=value_of(row, "question_id", place),
                        visual=video_frames(self.folder, video, place, self.frame_count),
                        question=question,
                        prompt=_prompt(question, self.prompt_for, subtitles.get(name)),
                        references=(one_of_letters(value_of(row, "answer", place), len(options), place),),
                        kind="/".join(
                            value_of(row, key, place) for key in ("duration", "domain", "task_type")
                        ),
                        unit=name,
                    )
                )
        return samples

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.follows == _OLD:
            return first_letter(prediction, LEADS, "ABCD")
        return stated_letter(prediction, "ABCD")


def _prompt(question: str, prompt_for: str | None, subtitles: str | None) -> str:
    if subtitles is None:
        return f"{_BEFORE}\n{question}\n{_BEST_ANSWER if prompt_for == 'llava_vid' else LETTER_ANSWER}"
    shown = f"This video's subtitles are listed below: \n{subtitles}"
    return f"{shown}\n{_BEFORE}\n{question}\n{_BEST_ANSWER}"


def _shown(file: Path, video: Path, count: FrameCount) -> str:
    """Return the subtitles shown during the frames, one per line, by the frame rate in the video's header."""
    if not file.is_file():
        return "No subtitles available"
    try:
        total, rate = announced(video)
    except DataError:
        return ""  # the sample's frames do not load either, which on_error handles
    number = frames_to_take(count, total, total / rate if rate else 0.0)
    taken = np.linspace(0, total - 1, number, dtype=int)
    lines = [
        text
        for start, end, text in _subtitles(file)
        if ((taken >= int(start * rate)) & (taken < int(end * rate))).any()
    ]
    return "\n".join(lines)


def _subtitles(file: Path) -> list[tuple[float, float, str]]:
    """Return (start, end) in seconds and text of each subtitle with a white font: the first such text."""
    lines = read_lines(file)
    heads = [number for number, line in enumerate(lines) if " --> " in line]
    found = []
    for head, following in zip(heads, [*heads[1:], len(lines) + 1], strict=True):
        times = _TIMES.match(lines[head].strip())
        if times is None:
            raise UserError(f"{file}: {lines[head].strip()!r}: expected 00:00:00,000 --> 00:00:00,000")
        start, end = (_seconds(times.groups()[first : first + 4]) for first in (0, 4))
        shown = _SHOWN.search(" ".join(lines[head + 1 : following - 1]))  # without the next one's number
        if shown is not None:
            found.append((start, end, shown[1]))
    return found


def _seconds(parts: tuple[str, ...]) -> float:
    hours, minutes, seconds, milliseconds = map(int, parts)
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000

"""LongVideoBench (Wu et al., 2024): questions that refer to moments of videos of up to an hour.

Data:
    https://huggingface.co/datasets/longvideobench/LongVideoBench (accept its terms there):
    ``lvb_val.json`` or ``validation-*.parquet``, and the folder ``videos`` from ``videos.tar.part.*``.
    1,337 questions of the validation split; the answers of the test split are not public.
Prompt:
    the question, a line "A. ..." for each option, "Answer with the option's letter from the given choices
    directly." This is ``longvideobench_val_v`` of lmms-eval 0.7.3, without subtitles. With subtitles
    (``longvideobench_val_i``), frames and text alternate, which the models here do not support.
Rule:
    the first capital from A to E, after phrases such as "The best answer is" are removed. If there is none,
    the official code guesses; here the guess is drawn from the sample's id, so it is the same in every run.
    Accuracy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import ParquetTable, read_entries, value_of
from script_exp.benchmarks.reading.files import Source
from script_exp.benchmarks.reading.frames import video_frames
from script_exp.benchmarks.reading.video import VideoBenchmark, find_video, first_letter, options_of
from script_exp.benchmarks.rules.choices import LETTER_ANSWER, lettered, listed
from script_exp.benchmarks.rules.metric import MeanByPart, Metric
from script_exp.errors import UserError

_LEADS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
_MOST_OPTIONS = 5
_NO_OPTION = "N/A"


@dataclass(kw_only=True)
class LongVideoBench(VideoBenchmark):
    """The validation split; kinds are the group of the video's length and what is asked."""

    name: ClassVar[str] = "longvideobench"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "lvb_val.json"
    parquet: ClassVar[str] = "validation-*.parquet"
    more_files: ClassVar[tuple[str, ...]] = ("lvb_val.json",)
    archives: ClassVar[Mapping[str, str]] = {"videos.tar.part.*": "videos"}
    home: ClassVar[str] = HOMES["longvideobench"].address
    counts: ClassVar[Mapping[Source, int]] = {"json": 1_337, "hub": 1_337}

    @property
    def max_new_tokens(self) -> int:
        return 32

    @property
    def metric(self) -> Metric:
        return MeanByPart()

    def read(self) -> list[Sample]:
        return self._from_json() if self.source == "json" else self._from_hub()

    def _from_json(self) -> list[Sample]:
        file, *more = self.json_files()
        if more:
            raise UserError(f"{self.folder}: {file} and {more[0]}: expected one {self.question_file}")
        samples = []
        for place, entry in read_entries(file):
            with self.entry(place):
                options = options_of(entry, "candidates", place)
                samples.append(self._sample(entry, options, file.parent, place))
        return samples

    def _from_hub(self) -> list[Sample]:
        names = [f"option{number}" for number in range(_MOST_OPTIONS)]
        other = ("id", "video_path", "question", "correct_choice", "duration_group", "question_category")
        samples = []
        for place, row, _ in ParquetTable(self.parquet_files(self.parquet), [*other, *names]):
            with self.entry(place):
                given = [option for name in names if (option := value_of(row, name, place)) != _NO_OPTION]
                options = options_of({"options": given}, "options", place)
                samples.append(self._sample(row, options, self.folder, place))
        return samples

    def _sample(self, entry: Mapping[str, Any], options: list[str], root: Path, place: str) -> Sample:
        choice = value_of(entry, "correct_choice", place, int)
        if not 0 <= choice < len(options):
            raise UserError(f"{place}: correct_choice={choice}: expected from 0 to {len(options) - 1}")
        question = f"{value_of(entry, 'question', place)}\n{listed(lettered(options))}"
        video = find_video(root, [f"videos/{value_of(entry, 'video_path', place)}"], place)
        group = value_of(entry, "duration_group", place, int)
        return Sample(
            id=value_of(entry, "id", place),
            visual=video_frames(root, video, place, self.frame_count),
            question=question,
            prompt=f"{question}{LETTER_ANSWER}\n",
            references=(ascii_uppercase[choice],),
            kind=f"up to {group} s/{value_of(entry, 'question_category', place)}",
            unit=video,
            extra={"options": len(options)},
        )

    def parse(self, sample: Sample, prediction: str) -> str:
        letter = first_letter(prediction, _LEADS, ascii_uppercase[:_MOST_OPTIONS])
        return letter or _guess(sample.id, sample.extra["options"])


def _guess(name: str, options: int) -> str:
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return ascii_uppercase[drawn % options]

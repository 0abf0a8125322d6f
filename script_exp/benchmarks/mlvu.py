"""MLVU (Zhou et al., 2024), development set: long videos, seven multiple-choice tasks.

Data:
    https://huggingface.co/datasets/MLVU/MVLU: ``json/1_plotQA.json`` to ``json/7_topic_reasoning.json`` with
    the videos in ``video/1_plotQA`` and so on; or https://huggingface.co/datasets/sy1998/MLVU_dev:
    ``mlvu/test-*.parquet``, with the videos of its ``video_part_*.zip`` in the folder itself or in ``video``.
    2,174 questions. Tasks 8 and 9 ask for free text and are skipped.
Prompt:
    the question, a line "(A) ..." for each option, "Only give the best option.", "Best option: (", as in
    lmms-eval 0.7.3 and since 0.3.5; 0.3.0 has an empty line before the question and before the last line.
Rule:
    :func:`~script_exp.benchmarks.rules.choices.stated_letter`, as in lmms-eval 0.7.3.
    ``protocol_version=0.3.5`` (up to 0.7.1): the character before the first ")", or the whole answer if there
    is none, has to be the letter. ``protocol_version=0.3.0``: the first capital from A to D, after phrases
    such as "The best answer is" are removed. M-Avg: accuracy averaged over the seven tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import ParquetTable, read_entries, value_of
from script_exp.benchmarks.reading.files import LMMS_EVAL, Source
from script_exp.benchmarks.reading.frames import video_frames
from script_exp.benchmarks.reading.video import (
    LEADS,
    VideoBenchmark,
    find_video,
    first_letter,
    letter_of,
    one_of_letters,
    options_of,
)
from script_exp.benchmarks.rules.choices import lettered, listed, stated_letter
from script_exp.benchmarks.rules.metric import MeanOverKinds, Metric
from script_exp.errors import UserError

TASKS = ("plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning")
_FREE_TEXT = ("sub_scene", "summary")
_AFTER = "\nOnly give the best option.\nBest option: ("
_LETTERS = "ABCD"


class MlvuAverage(MeanOverKinds):
    """M-Avg, the mean over the seven tasks."""

    name = "mlvu_m_avg"
    kinds = TASKS


@dataclass(kw_only=True)
class Mlvu(VideoBenchmark):
    """Kinds are the tasks, units the videos."""

    name: ClassVar[str] = "mlvu"
    prompt_version: ClassVar[int] = 1
    rule_version: ClassVar[int] = 2
    protocol_versions: ClassVar[Mapping[str, tuple[str, ...]]] = {"lmms": (LMMS_EVAL, "0.3.5", "0.3.0")}
    question_file: ClassVar[str] = "json/*_*.json"
    parquet: ClassVar[str] = "mlvu/test-*.parquet"
    more_files: ClassVar[tuple[str, ...]] = ("json/*.json", "video/*/*")
    home: ClassVar[str] = HOMES["mlvu"].address
    counts: ClassVar[Mapping[Source, int]] = {"json": 2_174, "hub": 2_174}

    @property
    def metric(self) -> Metric:
        return MlvuAverage()

    def read(self) -> list[Sample]:
        return self._from_json() if self.source == "json" else self._from_hub()

    def _from_json(self) -> list[Sample]:
        samples = []
        for file in self.json_files():
            task, root = file.stem.split("_", 1)[1], file.parents[1]
            if task in _FREE_TEXT:
                continue
            for number, (place, entry) in enumerate(read_entries(file)):
                with self.entry(place):
                    name, options = value_of(entry, "video", place), options_of(entry, "candidates", place)
                    folders = (f"video/{file.stem}", f"video/{task}")
                    video = find_video(root, [f"{folder}/{name}" for folder in folders], place)
                    question = f"{value_of(entry, 'question', place)}\n{listed(lettered(options), '({}) {}')}"
                    samples.append(
                        Sample(
                            id=f"{_known(task, str(file))}-{number}",
                            visual=video_frames(root, video, place, self.frame_count),
                            question=question,
                            prompt=self._prompt(question),
                            references=(letter_of(value_of(entry, "answer", place), options, place),),
                            kind=task,
                            unit=video,
                        )
                    )
        return samples

    def _from_hub(self) -> list[Sample]:
        """Read rows whose questions already contain the options and whose answers are letters."""
        counts = dict.fromkeys(TASKS, 0)
        columns = ["video_name", "question", "candidates", "answer", "task_type"]
        samples = []
        for place, row, _ in ParquetTable(self.parquet_files(self.parquet), columns):
            with self.entry(place):
                task = _known(value_of(row, "task_type", place), place)
                number, counts[task] = counts[task], counts[task] + 1
                name, question = value_of(row, "video_name", place), value_of(row, "question", place)
                video = find_video(self.folder, [name, f"video/{name}"], place)
                samples.append(
                    Sample(
                        id=f"{task}-{number}",
                        visual=video_frames(self.folder, video, place, self.frame_count),
                        question=question,
                        prompt=self._prompt(question),
                        references=(_letter(row, place),),
                        kind=task,
                        unit=video,
                    )
                )
        return samples

    def _prompt(self, question: str) -> str:
        if self.follows == "0.3.0":
            return f"\n{question}\nOnly give the best option.\n\nBest option: ("
        return question + _AFTER

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.follows == "0.3.0":
            return first_letter(prediction, LEADS, _LETTERS)
        if self.follows == LMMS_EVAL:
            return stated_letter(prediction, _LETTERS)
        text = prediction.strip()
        before, parenthesis, _ = text.partition(")")
        return before[-1:] if parenthesis else text


def _letter(row: Mapping[str, Any], place: str) -> str:
    return one_of_letters(value_of(row, "answer", place), len(options_of(row, "candidates", place)), place)


def _known(task: str, place: str) -> str:
    if task not in TASKS:
        raise UserError(f"{place}: task {task}: expected one of {', '.join(TASKS)}")
    return task

"""MME (Fu et al., 2023): two yes-or-no questions about every image, one of which has the answer yes.

Data:
    ``MME/llava_mme.jsonl`` of LLaVA's ``eval.zip``, with ``MME_Benchmark_release_version`` beside it
    (https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation); or
    https://huggingface.co/datasets/lmms-lab-encoder/MME, its test split. 2,374 questions about 1,187 images.
Prompt:
    the question without its " Please answer yes or no.", a newline, "Answer the question using a single word
    or phrase."
Rule:
    MME's ``eval_tool/calculation.py``: the lower-cased answer is yes or no if its first four characters
    contain the word. The score of a subtask is its accuracy over questions plus its accuracy over images
    (both questions right), each in percent. Perception is the sum over ten subtasks (at most 2,000),
    cognition over four (at most 800). lmms-eval 0.7.3 also removes periods and accepts "y" and "n".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    image_file,
    read_jsonl,
    read_lines,
    value_of,
    within,
)
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.metric import Metric, Scored
from script_exp.errors import UserError

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_SUBTASKS = (*PERCEPTION, *COGNITION)
_SUFFIX = "Please answer yes or no."


class Perception(Metric):
    """The sum of the perception subtasks' scores, in points; by kind, also all subtasks and cognition."""

    name = "mme_perception"
    scale = 1
    unit = "points"

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (14 * 4,): right answers, answers, images with both right and with both asked, by subtask.

        The unit is one image. An image with only one answered question counts in no pair.
        """
        sums = np.zeros((len(_SUBTASKS), 4))
        right: Counter[str] = Counter()
        for answer in answers:
            right[answer.kind] += answer.score == 1
            sums[_SUBTASKS.index(answer.kind), 1] += 1
        for kind, count in right.items():
            row = sums[_SUBTASKS.index(kind)]
            row[0] = count
            row[2:] = (count == 2, 1) if row[1] == 2 else (0, 0)
        return sums.ravel()

    def value(self, totals: np.ndarray) -> np.ndarray:
        perception: np.ndarray = self._scores(totals)[..., : len(PERCEPTION)].sum(axis=-1)
        return perception

    def highest(self, totals: np.ndarray) -> float:
        """Return 200 points for every perception subtask that was asked."""
        asked = totals.reshape(len(_SUBTASKS), 4)[: len(PERCEPTION), 1] > 0
        return 200.0 * int(asked.sum())

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        """Return the two sums, and the score of every subtask that was asked, in MME's order."""
        sums = self.by_unit(answers).sum(axis=0)
        scores = dict(zip(_SUBTASKS, self._scores(sums).tolist(), strict=True))
        asked = {answer.kind for answer in answers}
        return {
            "perception": sum(scores[name] for name in PERCEPTION),
            "cognition": sum(scores[name] for name in COGNITION),
            **{name: score for name, score in scores.items() if name in asked},
        }

    @staticmethod
    def _scores(totals: np.ndarray) -> np.ndarray:
        """Return (..., 14): acc + acc+ of each subtask, in points; 0 for one that was not asked."""
        sums = totals.reshape(*totals.shape[:-1], len(_SUBTASKS), 4)
        accuracy = sums[..., 0] / np.maximum(sums[..., 1], 1)
        both = sums[..., 2] / np.maximum(sums[..., 3], 1)
        points: np.ndarray = 100 * (accuracy + both)
        return points


@dataclass(kw_only=True)
class Mme(FileBenchmark):
    """Perception and cognition; kinds are the subtasks, units the images with their pairs of questions."""

    name: ClassVar[str] = "mme"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "llava_mme.jsonl"
    parquet: ClassVar[str] = "data/test-*.parquet"
    home: ClassVar[str] = HOMES["mme"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 2_374, "hub": 2_374}

    @property
    def metric(self) -> Metric:
        return Perception()

    def from_llava(self) -> list[Sample]:
        release = self.folder / "MME_Benchmark_release_version"
        if (release / "MME_Benchmark").is_dir():  # later archives have one more folder
            release = release / "MME_Benchmark"
        turns: Counter[str] = Counter()
        labels: dict[Path, dict[str, str]] = {}
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                prompt, image = value_of(line, "text", place), value_of(line, "image", place)
                name = value_of(line, "question_id", place)
                unit = _unit(name, place)
                file = _label_file(release, unit, place)
                if file not in labels:
                    labels[file] = _read_labels(file)
                question = _bare(bare_question(prompt))
                if question not in labels[file]:
                    raise UserError(f"{place}: {question!r} is not in {file}")
                turns[unit] += 1
                samples.append(
                    Sample(
                        id=f"{unit}-{turns[unit]}",
                        visual=image_file(release, image, place),
                        question=question,
                        prompt=prompt,
                        references=(labels[file][question],),
                        kind=unit.split("/")[0],
                        unit=unit,
                    )
                )
        return self._paired(samples, turns, self.question_file)

    def from_hub(self) -> list[Sample]:
        turns: Counter[str] = Counter()
        columns = ["question_id", "question", "answer", "category"]
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                unit = _unit(value_of(row, "question_id", place), place)
                text = value_of(row, "question", place)
                question = _bare(text)
                turns[unit] += 1
                samples.append(
                    Sample(
                        id=f"{unit}-{turns[unit]}",
                        visual=load,
                        question=question,
                        prompt=(_lmms_bare(text) if self.protocol == "lmms" else question) + SHORT_ANSWER,
                        references=(_label(value_of(row, "answer", place), place),),
                        kind=unit.split("/")[0],
                        unit=unit,
                    )
                )
        return self._paired(samples, turns, str(self.folder))

    def _paired(self, samples: list[Sample], turns: Mapping[str, int], place: str) -> list[Sample]:
        """Return the samples of images with two questions."""
        odd = {unit: count for unit, count in turns.items() if count != 2}
        for unit, count in odd.items():
            with self.entry(f"{place}, {unit}"):
                raise UserError(f"{place}: {count} questions about {unit}, expected two for every image")
        return [sample for sample in samples if sample.unit not in odd]

    def parse(self, sample: Sample, prediction: str) -> str:
        text = prediction.strip().lower()
        if self.protocol == "lmms":
            text = text.replace(".", "")
            text = {"y": "yes", "n": "no"}.get(text, text)
        return next((word for word in ("yes", "no") if word in text[:4]), "other")


def _unit(question_id: str, place: str) -> str:
    """Return ``subtask/image`` for an id, which may have a folder ``images`` in between."""
    path = PurePosixPath(question_id)
    if len(path.parts) < 2 or path.parts[0] not in _SUBTASKS:
        raise UserError(
            f"{place}: question_id={question_id}: expected SUBTASK/IMAGE with one of {', '.join(_SUBTASKS)}"
        )
    return f"{path.parts[0]}/{path.name.split('.')[0]}"


def _label_file(release: Path, unit: str, place: str) -> Path:
    subtask, image = unit.split("/", 1)
    folder = release / subtask
    inner = folder / "questions_answers_YN"
    return within(inner if inner.is_dir() else folder, f"{image}.txt", place)


def _read_labels(file: Path) -> dict[str, str]:
    """Return the answers by bare question; a line is the question, a tab, Yes or No."""
    labels = {}
    for number, line in enumerate(read_lines(file), start=1):
        question, tab, label = line.strip().rpartition("\t")
        place = f"{file}, line {number}"
        if not tab:
            raise UserError(f"{place}: expected a question, a tab, and Yes or No")
        labels[_bare(question)] = _label(label, place)
    return labels


def _bare(question: str) -> str:
    return question.strip().removesuffix(_SUFFIX).strip()


def _lmms_bare(question: str) -> str:
    """Remove the instruction as lmms-eval does: of two spaces before it, one stays."""
    return question.strip().replace(f" {_SUFFIX}", "")


def _label(label: str, place: str) -> str:
    lower = label.strip().lower().replace(".", "")
    if lower not in ("yes", "no"):
        raise UserError(f"{place}: answer {label!r}: expected Yes or No")
    return lower

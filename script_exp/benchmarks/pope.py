"""POPE (Li et al., 2023): yes-or-no questions about objects in the image, to detect hallucinations.

Data:
    ``pope/llava_pope_test.jsonl`` of LLaVA's ``eval.zip``, with the labels in ``pope/coco``
    (https://github.com/AoiDragon/POPE/tree/e3e39262c85a6a83f26cf5094022a782cb0df58d/output/coco)
    and COCO's ``val2014`` in ``pope/val2014`` (8,910 questions); or
    https://huggingface.co/datasets/lmms-lab-encoder/POPE, its test split (9,000 questions).
Prompt:
    the question, a newline, "Answer the question using a single word or phrase."
Rule:
    LLaVA's ``eval_pope.py``: in the text before the first period, without commas, the answer is "no" if one
    of the words is "No", "not" or "no", and "yes" otherwise. The number is the mean of the F1 (of "yes") over
    the three ways to choose the objects: adversarial, popular, random. lmms-eval 0.7.3 accepts only a
    bare "yes" or "no", in any case, and computes one F1 over all questions, which ignores all other answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import ParquetTable, image_file, read_jsonl, value_of
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.metric import Metric, Scored
from script_exp.errors import UserError

CATEGORIES = ("adversarial", "popular", "random")


class MeanF1(Metric):
    """The mean of the categories' F1; a category without answers does not count."""

    name = "mean_f1"
    unit = "F1 %"

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (3 * 4,): true positives, false positives, false negatives and answers, by category."""
        sums = np.zeros((len(CATEGORIES), 4))
        for answer in answers:
            sums[CATEGORIES.index(answer.kind)] += _outcome(answer)
        return sums.ravel()

    def value(self, totals: np.ndarray) -> np.ndarray:
        sums = totals.reshape(*totals.shape[:-1], len(CATEGORIES), 4)
        present = sums[..., 3] > 0
        mean: np.ndarray = (_f1(sums) * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
        return mean


class PooledF1(Metric):
    """One F1 over the questions of all categories, as in lmms-eval."""

    name = "pooled_f1"
    unit = "F1 %"

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (4,): true positives, false positives, false negatives and answers."""
        sums: np.ndarray = np.sum([_outcome(answer) for answer in answers], axis=0)
        return sums

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _f1(totals)


@dataclass(kw_only=True)
class Pope(FileBenchmark):
    """The questions about COCO's images; kinds are the categories."""

    name: ClassVar[str] = "pope"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "llava_pope_test.jsonl"
    parquet: ClassVar[str] = "data/test-*.parquet"
    home: ClassVar[str] = HOMES["pope"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 8_910, "hub": 9_000}
    lmms_tokens: ClassVar[int] = 128

    @property
    def metric(self) -> Metric:
        return MeanF1() if self.protocol == "llava" else PooledF1()

    def from_llava(self) -> list[Sample]:
        lines: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                lines[_category(value_of(line, "category", place), place)].append((place, line))
        return [sample for category in lines for sample in self._category_of_llava(category, lines[category])]

    def _category_of_llava(self, category: str, lines: list[tuple[str, dict[str, Any]]]) -> list[Sample]:
        """Pair the questions of a category with the labels of its file.

        It is the n-th question with the n-th label, as in ``eval_pope.py``. Where entries were left out, it
        is the next label with the image and the text of the question.
        """
        file = self.folder / "coco" / f"coco_pope_{category}.json"
        unread: list[UserError] = []  # a bad label takes its question with it, which is left out
        labels = read_jsonl(file, lambda _, error: unread.append(error))
        complete = not unread and not self._left_out
        if complete and len(labels) != len(lines):
            raise UserError(
                f"{file}: {len(labels)} labels, but {self.question_file} has {len(lines)} questions of this "
                "category"
            )
        by_question = defaultdict(list)
        for where, label in reversed(labels):
            by_question[str(label.get("image")), str(label.get("text"))].append((where, label))
        samples = []
        for number, (place, line) in enumerate(lines):
            with self.entry(place):
                image, prompt = value_of(line, "image", place), value_of(line, "text", place)
                found = [labels[number]] if complete else by_question[image, bare_question(prompt)]
                if not found:
                    why = "".join(f"; {error}" for error in unread[:1])
                    raise UserError(f"{place}: {file} has no label for it{why}")
                where, label = found.pop()
                if value_of(label, "image", where) != image:
                    raise UserError(f"{where}: the label of {label['image']}, but {place} asks about {image}")
                samples.append(
                    Sample(
                        id=f"{category}-{value_of(line, 'question_id', place, (int, str))}",
                        visual=image_file(self.folder / "val2014", image, place),
                        question=bare_question(prompt),
                        prompt=prompt,
                        references=(_label(value_of(label, "label", where), where),),
                        kind=category,
                        unit=PurePath(image).with_suffix("").as_posix(),
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["question_id", "question", "answer", "image_source", "category"]
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                category = _category(value_of(row, "category", place), place)
                question = value_of(row, "question", place).strip()
                samples.append(
                    Sample(
                        id=f"{category}-{value_of(row, 'question_id', place, (int, str))}",
                        visual=load,
                        question=question,
                        prompt=question + SHORT_ANSWER,
                        references=(_label(value_of(row, "answer", place).strip().lower(), place),),
                        kind=category,
                        unit=value_of(row, "image_source", place),
                    )
                )
        return samples

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.protocol == "lmms":
            return prediction.strip().lower()
        words = prediction.strip().split(".")[0].replace(",", "").split(" ")
        return "no" if {"No", "not", "no"} & set(words) else "yes"


def _outcome(answer: Scored) -> np.ndarray:
    """Return (4,): true positive, false positive, false negative, and 1 for the answer."""
    (truth,) = answer.references
    said = answer.answer
    return np.array(
        [
            truth == "yes" and said == "yes",
            truth == "no" and said == "yes",
            truth == "yes" and said == "no",
            True,
        ],
        dtype=np.float64,
    )


def _f1(sums: np.ndarray) -> np.ndarray:
    """Return F1 (...) from true positives, false positives, false negatives (..., 4); 0 if all are 0."""
    doubled = 2 * sums[..., 0]
    f1: np.ndarray = doubled / np.maximum(doubled + sums[..., 1] + sums[..., 2], 1)
    return f1


def _category(name: str, place: str) -> str:
    if name not in CATEGORIES:
        raise UserError(f"{place}: category={name}: expected one of {', '.join(CATEGORIES)}")
    return name


def _label(label: str, place: str) -> str:
    if label not in ("yes", "no"):
        raise UserError(f"{place}: label {label!r}: expected yes or no")
    return label

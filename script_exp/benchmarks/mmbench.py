"""MMBench (Liu et al., 2023), dev: questions with two to four choices, asked with the choices rotated.

Data:
    ``mmbench/mmbench_dev_20230712.tsv`` and ``mmbench_cn/mmbench_dev_cn_20231003.tsv`` of
    https://github.com/open-compass/MMBench, with the images inside; or
    https://huggingface.co/datasets/lmms-lab-encoder/MMBench, the dev splits of its ``en`` and ``cn``. Rows
    whose index is the same modulo 1,000,000 are one question with its choices rotated: 4,377 rows and 1,176
    questions in LLaVA's English file, 4,329 rows in the Chinese one and in both of the hub's, which are later
    releases with 1,164 questions.
Prompt:
    the hint, if there is one; the question; the choices as "A. ...", one per line; "Answer with the option's
    letter from the given choices directly." or, in Chinese, "请直接回答选项字母。". LLaVA asks each row once.
    lmms-eval 0.7.3 joins hint, question and "There are several options:", in both languages, with spaces and
    puts an empty line before the last one, which in Chinese is "请直接使用所提供的选项字母作为答案回答。". A
    Chinese question without a hint has the hint "nan" there, as the hub's copy calls a missing one.
Rule:
    circular evaluation: a question is right only if it is right in every rotation. The letter is found as in
    the paper's first step: a letter from A to E that stands as a word, with or without punctuation, unless
    there are two ("A" among more than three words is an article); otherwise the one choice whose text is in
    the answer. What the paper then passes to GPT counts as wrong here; under ``protocol=lmms`` it goes to
    :func:`~script_exp.benchmarks.rules.choices.stated_letter`, as in lmms-eval's ``mmbench_en_dev_static``,
    where the missing choices of a question have the text "nan". ``submission.xlsx`` is for the official
    server, which uses GPT: https://opencompass.org.cn/leaderboard-multimodal.
"""

from __future__ import annotations

import io
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from xlsxwriter import Workbook

from script_exp.benchmarks.base import Predicted, Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import ParquetTable, read_tsv, value_of
from script_exp.benchmarks.reading.files import FileBenchmark, Source
from script_exp.benchmarks.reading.images import encoded_image
from script_exp.benchmarks.rules.choices import LETTER_ANSWER, lettered, listed, stated_letter
from script_exp.benchmarks.rules.metric import Metric, Scored
from script_exp.errors import UserError

ABILITIES = (  # level 2 of the taxonomy; level 3 are the categories
    "attribute_reasoning",
    "coarse_perception",
    "finegrained_perception (cross-instance)",
    "finegrained_perception (instance-level)",
    "logic_reasoning",
    "relation_reasoning",
)
_ROTATION = 1_000_000
_MOST_DIGITS = 15  # which a number of an Excel file has
_COLUMNS = ("A", "B", "C", "D")
_SEVERAL = "There are several options:"
_NAN = "nan"  # an empty cell in the hub's copy
_LETTERS = "ABCDE"  # E: none of them, as the paper's first step allows
# Cells that pandas, which LLaVA reads the table with, takes as missing. Case matters: "Na" is sodium.
_MISSING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip
# What may stand around a letter, in search order.
_AROUND = [
    ("", ""),
    *(("", end) for end in (".", ",", ":", ")", ").")),
    *(("(", end) for end in (")", ").")),
    *((":", end) for end in ("", ",", ".", ")", ").")),
]


class CircularAccuracy(Metric):
    """The share of questions that are right in every rotation; the unit is one question.

    If rotations of a question were skipped or cut off by ``limit``, only those that were asked count.
    """

    name = "circular_accuracy"

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (2,): whether all rotations are right, and 1 for the question."""
        return np.array([all(answer.score == 1 for answer in answers), 1])

    def value(self, totals: np.ndarray) -> np.ndarray:
        accuracy: np.ndarray = totals[..., 0] / totals[..., 1]
        return accuracy

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        """Return the share of every ability that was asked for, and of every ``ability/category``."""
        abilities: dict[str, list[Scored]] = defaultdict(list)
        for answer in answers:
            abilities[answer.kind.split("/")[0]].append(answer)
        return {name: self.of(abilities[name]) for name in sorted(abilities)} | super().by_kind(answers)


@dataclass(kw_only=True)
class MmBench(FileBenchmark):
    """English; kinds are ``ability/category``, units the questions with their rotations."""

    name: ClassVar[str] = "mmbench"
    lmms_prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "mmbench_dev_20230712.tsv"
    parquet: ClassVar[str] = "en/dev-*.parquet"
    home: ClassVar[str] = HOMES["mmbench"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 4_377, "hub": 4_329}
    instruction: ClassVar[str] = LETTER_ANSWER
    lmms_instruction: ClassVar[str] = LETTER_ANSWER
    lmms_shows_nan: ClassVar[bool] = False  # as the hint
    llava_tokens: ClassVar[int] = 1024  # model_vqa_mmbench.py
    lmms_tokens: ClassVar[int] = 1024

    @property
    def prompt_version(self) -> int:
        return self.lmms_prompt_version if self.protocol == "lmms" else 1

    @property
    def rule_version(self) -> int:
        return 2 if self.protocol == "lmms" else 1

    @property
    def metric(self) -> Metric:
        return CircularAccuracy()

    def from_llava(self) -> list[Sample]:
        once: dict[str, str] = {}  # rotations repeat their image: keep one copy
        samples = []
        for place, row in read_tsv(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                text = value_of(row, "image", place)
                load = encoded_image(once.setdefault(text, text), place)
                samples.append(self._sample(place, row, load, "l2-category"))
        return self._with_originals(samples)

    def from_hub(self) -> list[Sample]:
        ability = "L2-category"
        columns = ["index", "question", "hint", *_COLUMNS, "answer", "category", ability, "split"]
        table = ParquetTable(self.parquet_files(self.parquet), columns, image="image")
        samples = []
        for place, row, load in table:
            with self.entry(place):
                samples.append(self._sample(place, row, load, ability))
        return self._with_originals(samples)

    def _with_originals(self, samples: list[Sample]) -> list[Sample]:
        """Return the samples whose original is present; the others of a unit are rotations of it."""
        names, whole = {sample.id for sample in samples}, []
        for sample in samples:
            with self.entry(f"{self.folder}, row {sample.id}"):
                if sample.unit not in names:
                    raise UserError(f"row {sample.id} is a rotation of {sample.unit}, which is missing")
                whole.append(sample)
        return whole

    def _sample(
        self, place: str, row: Mapping[str, Any], load: Callable[[], Image.Image], ability: str
    ) -> Sample:
        index = _index(value_of(row, "index", place, (int, str)), place)
        given = {letter: value_of(row, letter, place, (str, type(None))) for letter in _COLUMNS}
        choices = _shown_by_lmms(given) if self.protocol == "lmms" else _shown_by_llava(given)
        if not choices:
            raise UserError(f"{place}: expected texts in the columns {', '.join(_COLUMNS)}")
        answer = value_of(row, "answer", place)
        if answer not in _COLUMNS:
            raise UserError(f"{place}: answer={answer}: expected one of {', '.join(_COLUMNS)}")
        level = value_of(row, ability, place)
        if level not in ABILITIES:
            raise UserError(f"{place}: {ability}={level}: expected one of {', '.join(ABILITIES)}")
        question, hint = value_of(row, "question", place), _given(row.get("hint"))
        asked = "\n".join([*([hint] if hint else []), question, listed(choices)])
        prompt = asked + self.instruction
        if self.protocol == "lmms":
            joined = " ".join([*self._hint_of_lmms(row.get("hint")), question, _SEVERAL])
            prompt = f"{joined}\n{listed(choices)}\n{self.lmms_instruction}"
        return Sample(
            id=str(index),
            visual=load,
            question=asked,
            prompt=prompt,
            references=(answer,),
            kind=f"{level}/{value_of(row, 'category', place)}",
            unit=str(index % _ROTATION),
            extra={
                "question": question,
                "choices": choices,
                "cells": {letter: choices.get(letter, _NAN) for letter in _COLUMNS},
                "split": _given(row.get("split")),
            },
        )

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.protocol == "llava":
            return _letter(prediction) or _content(prediction, sample.extra["choices"]) or "other"
        found = _letter(prediction) or _content(prediction, sample.extra["cells"])
        return found or stated_letter(prediction, "".join(_COLUMNS)) or "other"

    def _hint_of_lmms(self, hint: str | None) -> list[str]:
        """Return the hint, if one is shown."""
        if hint is None:
            return []
        shown = _given(hint) or _NAN
        return [shown] if shown != _NAN or self.lmms_shows_nan else []

    def submission(self, predicted: Iterable[Predicted]) -> tuple[str, bytes]:
        """Return the table for the server: the columns that LLaVA's converter keeps, with the predictions."""
        said = {one.id: one.prediction for one in predicted}
        rows: list[list[Any]] = [["index", "question", *_COLUMNS, "prediction", "answer", "split"]]
        for sample in self.samples():
            choices = [sample.extra["choices"].get(letter) for letter in _COLUMNS]
            cells = [sample.extra["question"], *choices, said.get(sample.id), *sample.references]
            rows.append([int(sample.id), *cells, sample.extra["split"]])
        return "submission.xlsx", _sheet(rows)


@dataclass(kw_only=True)
class MmBenchCn(MmBench):
    """Chinese."""

    name: ClassVar[str] = "mmbench_cn"
    question_file: ClassVar[str] = "mmbench_dev_cn_20231003.tsv"
    parquet: ClassVar[str] = "cn/dev-*.parquet"
    counts: ClassVar[Mapping[Source, int]] = {"llava": 4_329, "hub": 4_329}
    instruction: ClassVar[str] = "\n请直接回答选项字母。"
    lmms_instruction: ClassVar[str] = "\n请直接使用所提供的选项字母作为答案回答。"
    lmms_prompt_version: ClassVar[int] = 2
    lmms_shows_nan: ClassVar[bool] = True
    lmms_tokens: ClassVar[int] = 256


def _letter(text: str) -> str | None:
    """Return the letter that stands as a word, if only one does."""
    words = text.split()
    for before, after in _AROUND:
        found = [letter for letter in _LETTERS if before + letter + after in words]
        article = not before and not after and found == ["A"] and len(words) > 3
        if len(found) == 1 and not article:
            return found[0]
    return None


def _content(text: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter of the choice whose text is in ``text``, if only one is."""
    lower = text.lower()
    found = [letter for letter, choice in choices.items() if choice.lower() in lower]
    return found[0] if len(found) == 1 else None


def _index(value: int | str, place: str) -> int:
    if not str(value).isdecimal() or len(str(value)) > _MOST_DIGITS:
        raise UserError(f"{place}: index={value}: expected a whole number")
    return int(value)


def _given(value: Any) -> str | None:
    """Return the text of a cell; None if it is missing."""
    missing = value is None or str(value) in _MISSING or str(value).lower() in ("nan", "none")
    return None if missing else str(value)


def _shown_by_llava(given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the choices by letter, up to the first missing one; an answer after it cannot be given."""
    texts = itertools.takewhile(lambda text: text is not None, map(_given, given.values()))
    return lettered(filter(None, texts))


def _shown_by_lmms(given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the choices by letter, except empty ones; the text "None" is a choice."""
    return {letter: choice for letter, choice in given.items() if choice and choice != "nan"}


def _sheet(rows: list[list[Any]]) -> bytes:
    """Return a reproducible Excel file; text stays text, even if it looks like a formula."""
    buffer = io.BytesIO()
    plain = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    with Workbook(buffer, plain) as book:
        book.set_properties({"created": datetime(2023, 7, 12)})  # date of the English questions
        sheet = book.add_worksheet()
        for number, cells in enumerate(rows):
            sheet.write_row(number, 0, cells)
    return buffer.getvalue()

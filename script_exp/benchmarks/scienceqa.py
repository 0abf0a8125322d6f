"""ScienceQA (Lu et al., 2022): school questions with two to five choices, only those with an image.

Data:
    ``scienceqa/llava_test_CQM-A.json`` of LLaVA's ``eval.zip``, with ``problems.json``, ``pid_splits.json``
    and the images, in ``images/test``, of https://github.com/lupantech/ScienceQA; or
    https://huggingface.co/datasets/lmms-lab-encoder/ScienceQA, the test split of its ``ScienceQA-IMG``.
    2,017 of the 4,241 test questions have an image. The others say nothing about visual tokens and are not
    asked. LLaVA asks all, but it and the pruning papers report the accuracy over the 2,017 ("IMG-Accuracy").
    ``llava_test_CQM-I.json`` of the pruning papers has only these, with the same wording.
Prompt:
    the hint, if there is one, as "Context: ..." on separate lines; the question; the choices as "A. ...",
    one per line; "Answer with the option's letter from the given choices directly." lmms-eval has the same.
Rule:
    LLaVA's ``eval_science_qa.py``: a letter from A to E, alone or before a period and a space; or else the
    letter in the only "The answer is X" that any character follows. All else is wrong. lmms-eval 0.7.3
    (since 0.3.5) accepts the letter alone, capital or small, or a capital at the start with a period after
    it. ``protocol_version=0.3.0`` (since 0.2.3): the letter alone, capital or small, and nothing else.
    ``protocol_version=0.2.0``: a capital, alone or at the start with a period after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    as_object,
    image_file,
    read_entries,
    read_json,
    texts_of,
    value_of,
)
from script_exp.benchmarks.reading.files import LMMS_EVAL, FileBenchmark, Source
from script_exp.benchmarks.rules.choices import LETTER_ANSWER, lettered, listed
from script_exp.errors import UserError

SUBJECTS = ("natural science", "social science", "language science")
_OPTIONS = "ABCDE"
_SENTENCE = re.compile(r"The answer is ([A-Z]).")  # the dot is any character, as in LLaVA's


@dataclass(kw_only=True)
class ScienceQa(FileBenchmark):
    """The test questions with an image; kinds are the subjects."""

    name: ClassVar[str] = "scienceqa"
    prompt_version: ClassVar[int] = 1
    protocol_versions: ClassVar[Mapping[str, tuple[str, ...]]] = {"lmms": (LMMS_EVAL, "0.3.0", "0.2.0")}
    question_file: ClassVar[str] = "llava_test_CQM-A.json"
    parquet: ClassVar[str] = "ScienceQA-IMG/test-*.parquet"
    home: ClassVar[str] = HOMES["scienceqa"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 2_017, "hub": 2_017}
    llava_tokens: ClassVar[int] = 1024  # model_vqa_science.py

    @property
    def rule_version(self) -> int:
        return 2 if self.protocol == "lmms" else 1

    def from_llava(self) -> list[Sample]:
        problems_file, splits_file = self.folder / "problems.json", self.folder / "pid_splits.json"
        problems = as_object(read_json(problems_file), str(problems_file))
        splits = as_object(read_json(splits_file), str(splits_file))
        test = {one for one in value_of(splits, "test", str(splits_file), list) if isinstance(one, str)}
        samples = []
        for place, content in read_entries(self.folder / self.question_file):
            with self.entry(place):
                entry = as_object(content, place)
                name = value_of(entry, "id", place)
                if name not in test:
                    raise UserError(f"{place}: question {name} is not in the test split of {splits_file}")
                if name not in problems:
                    raise UserError(f"{place}: question {name} is not in {problems_file}")
                if "image" not in entry:
                    continue
                image = image_file(self.folder / "images" / "test", value_of(entry, "image", place), place)
                where = f"{problems_file}, question {name}"
                problem = as_object(problems[name], where)
                samples.append(_sample(name, image, _first_turn(entry, place), problem, where))
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["question", "choices", "answer", "hint", "subject"]
        table = ParquetTable(self.parquet_files(self.parquet), columns, image="image")
        samples = []
        for number, (place, row, load) in enumerate(table):  # the rows have no ids
            with self.entry(place):
                hint, choices = value_of(row, "hint", place), _choices(row, place)
                context = f"Context: {hint}\n" if hint else ""
                asked = f"{context}{value_of(row, 'question', place)}\n{listed(lettered(choices))}"
                samples.append(_sample(f"test-{number}", load, asked, row, place))
        return samples

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.protocol == "lmms":
            return self._by_lmms(prediction)
        if prediction in [*_OPTIONS]:
            return prediction
        if prediction[:1] in [*_OPTIONS] and prediction[1:3] == ". ":
            return prediction[0]
        found = _SENTENCE.findall(prediction)
        return found[0] if len(found) == 1 else "FAILED"

    def _by_lmms(self, prediction: str) -> str:
        text = prediction if self.follows == "0.2.0" else prediction.strip()
        if len(text) == 1 and self.follows != "0.2.0":
            return text.upper()
        starts = text[:1].isupper() and text[1:2] == "." and self.follows != "0.3.0"
        return text[0] if starts else text


def _sample(
    name: str, load: Callable[[], Image.Image], asked: str, problem: Mapping[str, Any], place: str
) -> Sample:
    choices, answer = _choices(problem, place), value_of(problem, "answer", place, int)
    if not 0 <= answer < len(choices):
        raise UserError(f"{place}: answer={answer}: expected from 0 to {len(choices) - 1}")
    subject = value_of(problem, "subject", place)
    if subject not in SUBJECTS:
        raise UserError(f"{place}: subject={subject}: expected one of {', '.join(SUBJECTS)}")
    return Sample(
        id=name,
        visual=load,
        question=asked,
        prompt=asked + LETTER_ANSWER,
        references=([*lettered(choices)][answer],),
        kind=subject,
        unit=name,
    )


def _choices(problem: Mapping[str, Any], place: str) -> Sequence[str]:
    choices = texts_of(problem, "choices", place)
    if not 2 <= len(choices) <= len(_OPTIONS):
        raise UserError(f"{place}: choices={choices}: expected two to five texts")
    return choices


def _first_turn(entry: Mapping[str, Any], place: str) -> str:
    """Return the text of the person's first turn, without the image placeholder."""
    turns = value_of(entry, "conversations", place, list)
    if not turns:
        raise UserError(f"{place}: no conversations")
    text: str = value_of(as_object(turns[0], place), "value", place)
    return text.replace("<image>", "").strip()

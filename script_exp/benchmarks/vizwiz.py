"""VizWiz (Gurari et al., 2018): questions by blind people about their own photos, soft accuracy.

Data:
    https://vizwiz.org/tasks-and-datasets/vqa/: in ``vizwiz`` ``val.json`` and the images in ``val``; for
    the test split ``llava_test.jsonl`` of LLaVA's ``eval.zip`` and the images in ``test``. Or
    https://huggingface.co/datasets/lmms-lab/VizWiz-VQA for both. 4,319 and 8,000 questions.
Prompt:
    the question, a newline, "When the provided information is insufficient, respond with
    'Unanswerable'.", a newline, "Answer the question using a single word or phrase." lmms-eval capitalizes
    the first letter of the question and lowercases the rest.
Rule:
    soft accuracy (:mod:`script_exp.benchmarks.rules.vqa`) as in the official evaluation; lmms-eval normalizes
    references like predictions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

from script_exp.benchmarks.base import Predicted, Sample
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    as_object,
    image_file,
    read_json,
    read_jsonl,
    value_of,
)
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.vqa import m4c_score, normalize_prediction, vqa_score
from script_exp.errors import UserError

_UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."


@dataclass(kw_only=True)
class VizWiz(FileBenchmark):
    """The validation split; kinds are the types of answers. The server for the test split is closed."""

    name: ClassVar[str] = "vizwiz"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "val.json"
    parquet: ClassVar[str] = "val-*.parquet"
    home: ClassVar[str] = "https://huggingface.co/datasets/lmms-lab/VizWiz-VQA"
    counts: ClassVar[Mapping[Source, int]] = {"llava": 4_319, "hub": 4_319}
    lmms_tokens: ClassVar[int] = 1024

    def from_llava(self) -> list[Sample]:
        file = self.folder / self.question_file
        entries = read_json(file)
        if not isinstance(entries, list):
            raise UserError(f"{file}: expected a JSON list")
        samples = []
        for number, entry in enumerate(entries):
            place = f"{file}, entry {number}"
            with self.entry(place):
                entry = as_object(entry, place)
                image, question = value_of(entry, "image", place), value_of(entry, "question", place)
                samples.append(
                    Sample(
                        id=PurePath(image).stem,
                        visual=image_file(self.folder / "val", image, place),
                        question=question,
                        prompt=self._prompt(question),
                        references=_texts(entry, place),
                        kind=value_of(entry, "answer_type", place),
                        unit=PurePath(image).with_suffix("").as_posix(),
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["question_id", "question", *(["answers", "category"] if self.is_scored else [])]
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                name, question = value_of(row, "question_id", place), value_of(row, "question", place)
                samples.append(
                    Sample(
                        id=name,
                        visual=load,
                        question=question,
                        prompt=self._prompt(question),
                        references=_texts(row, place) if self.is_scored else (),
                        kind=value_of(row, "category", place) if self.is_scored else "all",
                        unit=name,
                    )
                )
        return samples

    def _prompt(self, question: str) -> str:
        asked = question if self.protocol == "llava" else question.capitalize()
        return asked + _UNANSWERABLE + SHORT_ANSWER

    def released_query(self, sample: Sample) -> str:
        """The sentence about unanswerable questions stays."""
        return bare_question(sample.prompt)

    def parse(self, sample: Sample, prediction: str) -> str:
        return normalize_prediction(prediction)

    def score(self, sample: Sample, answer: str) -> float:
        if not sample.references:
            return 0.0
        rule = vqa_score if self.protocol == "llava" else m4c_score
        return rule(answer, sample.references)


@dataclass(kw_only=True)
class VizWizTest(VizWiz):
    """The test split, whose answers are not public: a run ends with a submission file."""

    name: ClassVar[str] = "vizwiz_test"
    question_file: ClassVar[str] = "llava_test.jsonl"
    parquet: ClassVar[str] = "test-*.parquet"
    counts: ClassVar[Mapping[Source, int]] = {"llava": 8_000, "hub": 8_000}

    @property
    def is_scored(self) -> bool:
        return False

    def from_llava(self) -> list[Sample]:
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                image, text = value_of(line, "image", place), value_of(line, "text", place)
                question = text.removesuffix(SHORT_ANSWER).removesuffix(_UNANSWERABLE)
                samples.append(
                    Sample(
                        id=PurePath(image).stem,
                        visual=image_file(self.folder / "test", image, place),
                        question=question,
                        prompt=text if self.protocol == "llava" else self._prompt(question),
                        references=(),
                        kind="all",
                        unit=PurePath(image).with_suffix("").as_posix(),
                    )
                )
        return samples

    def submission(self, predicted: Iterable[Predicted]) -> tuple[str, str]:
        """Return a JSON list of ``image`` and ``answer``."""
        entries = [{"image": f"{one.id}.jpg", "answer": one.answer} for one in predicted]
        return "submission.json", json.dumps(entries, ensure_ascii=False)


def _texts(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """Return the answers; in the official file, each comes with the confidence of the person."""
    answers = value_of(entry, "answers", place, list)
    given = [answer.get("answer") if isinstance(answer, dict) else answer for answer in answers]
    texts = tuple(text for text in given if isinstance(text, str))
    if not texts or len(texts) < len(given):
        raise UserError(f"{place}: answers={answers}: expected a list of answers")
    return texts

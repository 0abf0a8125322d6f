"""VizWiz (Gurari et al., 2018): questions by blind people about their own photos, soft accuracy.

Data:
    https://vizwiz.org/tasks-and-datasets/vqa/: in ``vizwiz`` ``val.json`` and the images in ``val``; for
    the test split ``llava_test.jsonl`` of LLaVA's ``eval.zip`` and the images in ``test``. Or
    https://huggingface.co/datasets/lmms-lab-encoder/VizWiz-VQA for both. 4,319 and 8,000 questions.
Prompt:
    the question, its first letter capitalized and the rest in lower case, a newline, "When the provided
    information is insufficient, respond with 'Unanswerable'.", a newline, "Answer the question using a single
    word or phrase." LLaVA's file of the test split has its questions so; those of ``val.json`` and of the
    hub's copy are changed alike. lmms-eval 0.7.3 does the same.
Rule:
    soft accuracy (:mod:`script_exp.benchmarks.rules.vqa`). The official evaluation normalizes the prediction
    and compares it with the references as they are; lmms-eval 0.7.3 normalizes references like predictions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

from script_exp.benchmarks.base import Predicted, Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    image_file,
    read_entries,
    read_jsonl,
    value_of,
)
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.vqa import m4c_score, normalize_prediction, raw_score
from script_exp.errors import UserError

_UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."


@dataclass(kw_only=True)
class VizWiz(FileBenchmark):
    """The validation split; kinds are the types of answers. The server for the test split is closed."""

    name: ClassVar[str] = "vizwiz"
    question_file: ClassVar[str] = "val.json"
    parquet: ClassVar[str] = "val-*.parquet"
    home: ClassVar[str] = HOMES["vizwiz"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 4_319, "hub": 4_319}
    lmms_tokens: ClassVar[int] = 1024

    @property
    def prompt_version(self) -> int:
        return 2 if self.is_scored or self.source == "hub" else 1  # LLaVA's file has its prompts as they are

    @property
    def rule_version(self) -> int:
        return 2 if self.protocol == "llava" else 1

    def from_llava(self) -> list[Sample]:
        samples = []
        for place, entry in read_entries(self.folder / self.question_file):
            with self.entry(place):
                image, question = value_of(entry, "image", place), _asked(entry, place)
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
                name, question = value_of(row, "question_id", place), _asked(row, place)
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
        rule = raw_score if self.protocol == "llava" else m4c_score
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


def _asked(entry: Mapping[str, Any], place: str) -> str:
    """Return the question of an entry as LLaVA and lmms-eval ask it."""
    question: str = value_of(entry, "question", place)
    return question.capitalize()


def _texts(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """Return the answers; in the official file, each comes with the confidence of the person."""
    answers = value_of(entry, "answers", place, list)
    given = [answer.get("answer") if isinstance(answer, dict) else answer for answer in answers]
    texts = tuple(text for text in given if isinstance(text, str))
    if not texts or len(texts) < len(given):
        raise UserError(f"{place}: answers={answers}: expected a list of answers")
    return texts

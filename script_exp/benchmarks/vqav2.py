"""VQA v2 (Goyal et al., 2017): open questions about COCO's images, soft accuracy.

Data:
    test-dev, scored by https://eval.ai/web/challenges/challenge-page/830: in ``vqav2``
    ``llava_vqav2_mscoco_test-dev2015.jsonl`` and ``llava_vqav2_mscoco_test2015.jsonl`` of LLaVA's
    ``eval.zip``, and COCO's ``test2015``. Validation, scored here: in the same folder the questions, the
    annotations and ``val2014`` of https://visualqa.org/download.html. Or
    https://huggingface.co/datasets/lmms-lab-encoder/VQAv2 for both. 107,394 and 214,354 questions.
Prompt:
    the question, a newline, "Answer the question using a single word or phrase."
Rule:
    the official one (:mod:`script_exp.benchmarks.rules.vqa`), after LLaVA's tokenization of the prediction.
    lmms-eval 0.7.3 (since 0.5.0) does not tokenize the prediction, always normalizes both sides, and submits
    predictions of the test set as they are. ``protocol_version=0.3.0`` (up to it): as LLaVA.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, ClassVar

from script_exp.benchmarks.base import Predicted, Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    check_unique,
    image_file,
    read_entries,
    read_jsonl,
    value_of,
)
from script_exp.benchmarks.reading.files import LMMS_EVAL, SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.vqa import normalize, normalize_prediction, normalized_score, vqa_score
from script_exp.errors import UserError

_TEST = "llava_vqav2_mscoco_test2015.jsonl"
_TEST_QUESTIONS = 447_793
_ANNOTATIONS = "v2_mscoco_val2014_annotations.json"


@dataclass(kw_only=True)
class Vqav2(FileBenchmark):
    """The test-dev split, whose answers are not public: a run ends with a submission file."""

    name: ClassVar[str] = "vqav2"
    prompt_version: ClassVar[int] = 1
    protocol_versions: ClassVar[Mapping[str, tuple[str, ...]]] = {"lmms": (LMMS_EVAL, "0.3.0")}
    question_file: ClassVar[str] = "llava_vqav2_mscoco_test-dev2015.jsonl"
    parquet: ClassVar[str] = "testdev-*.parquet"
    home: ClassVar[str] = HOMES["vqav2"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 107_394, "hub": 107_394}

    @property
    def rule_version(self) -> int:
        return 2 if self.protocol == "lmms" else 1

    @property
    def is_scored(self) -> bool:
        return False

    def from_llava(self) -> list[Sample]:
        known = set(self._test_questions)
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                number = str(value_of(line, "question_id", place, int))
                if number not in known:
                    raise UserError(f"{place}: question {number} is not in {self.folder / _TEST}")
                image, prompt = value_of(line, "image", place), value_of(line, "text", place)
                samples.append(
                    Sample(
                        id=number,
                        visual=image_file(self.folder / "test2015", image, place),
                        question=bare_question(prompt),
                        prompt=prompt,
                        references=(),
                        kind="all",
                        unit=PurePath(image).with_suffix("").as_posix(),
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["question_id", "image_id", "question"]
        if self.is_scored:
            columns += ["answers", "answer_type"]
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                question = value_of(row, "question", place)
                samples.append(
                    Sample(
                        id=str(value_of(row, "question_id", place, int)),
                        visual=load,
                        question=question,
                        prompt=question + SHORT_ANSWER,
                        references=_answers(row, place) if self.is_scored else (),
                        kind=value_of(row, "answer_type", place) if self.is_scored else "all",
                        unit=str(value_of(row, "image_id", place, (int, str))),
                    )
                )
        return samples

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.follows != LMMS_EVAL:
            return normalize_prediction(prediction)
        return normalize(prediction) if self.is_scored else prediction

    def score(self, sample: Sample, answer: str) -> float:
        if not sample.references:
            return 0.0
        rule = normalized_score if self.follows == LMMS_EVAL else vqa_score
        return rule(answer, sample.references)

    def submission(self, predicted: Iterable[Predicted]) -> tuple[str, str] | None:
        """Return a JSON list of ``question_id`` and ``answer``, blank for the questions outside test-dev.

        The hub's copy has no list of the whole test set besides test-dev. The file then has only the
        questions that were answered, but the server expects all.
        """
        if self.is_scored:
            return None
        answers = {one.id: one.answer for one in predicted}
        names = self._test_questions if self.source == "llava" else list(answers)
        entries = [{"question_id": int(name), "answer": answers.get(name, "")} for name in names]
        return "submission.json", json.dumps(entries)

    @cached_property
    def _test_questions(self) -> list[str]:
        """Ids of the whole test set."""
        file = self.folder / _TEST
        names = [str(value_of(line, "question_id", place, int)) for place, line in read_jsonl(file)]
        check_unique(names, str(file))
        if self.check_count and len(names) != _TEST_QUESTIONS:
            raise UserError(
                f"{file}: {len(names)} questions, but the official file has {_TEST_QUESTIONS}; "
                "benchmark.check_count=false takes them as they are"
            )
        return names


@dataclass(kw_only=True)
class Vqav2Val(Vqav2):
    """The validation split, scored here; kinds are the types of answers: yes/no, number, other."""

    name: ClassVar[str] = "vqav2_val"
    question_file: ClassVar[str] = "v2_OpenEnded_mscoco_val2014_questions.json"
    parquet: ClassVar[str] = "validation-*.parquet"
    counts: ClassVar[Mapping[Source, int]] = {"llava": 214_354, "hub": 214_354}

    @property
    def is_scored(self) -> bool:
        return True

    def from_llava(self) -> list[Sample]:
        file, questions = self.folder / _ANNOTATIONS, self.folder / self.question_file
        annotations = self._annotations(file)
        samples = []
        for place, entry in read_entries(questions, "questions"):
            with self.entry(place):
                number = value_of(entry, "question_id", place, int)
                if number not in annotations:
                    raise UserError(f"{place}: question {number} is not in {file}")
                where, annotation = annotations[number]
                question, image = value_of(entry, "question", place), value_of(entry, "image_id", place, int)
                samples.append(
                    Sample(
                        id=str(number),
                        visual=image_file(self.folder / "val2014", f"COCO_val2014_{image:012d}.jpg", place),
                        question=question,
                        prompt=question + SHORT_ANSWER,
                        references=_answers(annotation, where),
                        kind=value_of(annotation, "answer_type", where),
                        unit=str(image),
                    )
                )
        return samples

    def _annotations(self, file: Path) -> dict[int, tuple[str, dict[str, Any]]]:
        """Return place and annotation of every question."""
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        for place, entry in read_entries(file, "annotations"):
            with self.entry(place):
                number = value_of(entry, "question_id", place, int)
                if number in found:
                    raise UserError(f"{place}: question {number} again, as in {found[number][0]}")
                found[number] = place, entry
        return found


def _answers(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    answers = value_of(entry, "answers", place, list)
    if not answers:
        raise UserError(f"{place}: no answers")
    return tuple(value_of(answer, "answer", place) for answer in answers)

"""TextVQA (Singh et al., 2019): questions about text in images, soft accuracy.

Data:
    ``textvqa/llava_textvqa_val_v051_ocr.jsonl`` of LLaVA's ``eval.zip``, with ``TextVQA_0.5.1_val.json`` and
    ``train_images`` of https://textvqa.org/dataset beside it; or
    https://huggingface.co/datasets/lmms-lab/textvqa, its validation split. 5,000 questions.
Prompt:
    the question and a newline; with ``ocr``, "Reference OCR token: ", the comma-separated tokens and a
    newline; "Answer the question using a single word or phrase." lmms-eval capitalizes the first letter of
    the question and lowercases the rest.
Rule:
    LLaVA's ``m4c_evaluator.py``: soft accuracy with predictions and references normalized alike
    (:mod:`script_exp.benchmarks.rules.vqa`). lmms-eval has the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    as_object,
    image_file,
    read_json,
    read_jsonl,
    value_of,
)
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.benchmarks.rules.vqa import m4c_score, normalize_prediction
from script_exp.errors import UserError, check_choice

_OCR = "Reference OCR token: "
_ANNOTATIONS = "TextVQA_0.5.1_val.json"


@dataclass(kw_only=True)
class TextVqa(FileBenchmark):
    """The validation split.

    Attributes:
        ocr: whether the prompt holds the words that an OCR engine found: true in LLaVA's published numbers,
            false by default in lmms-eval.
    """

    ocr: bool = True

    name: ClassVar[str] = "textvqa"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "llava_textvqa_val_v051_ocr.jsonl"
    parquet: ClassVar[str] = "validation-*.parquet"
    home: ClassVar[str] = "https://huggingface.co/datasets/lmms-lab/textvqa"
    counts: ClassVar[Mapping[Source, int]] = {"llava": 5_000, "hub": 5_000}
    lmms_tokens: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ocr", self.ocr, (True, False))

    def from_llava(self) -> list[Sample]:
        file = self.folder / _ANNOTATIONS
        annotations = _by_question(read_json(file), str(file))
        turns: Counter[str] = Counter()
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                image = str(value_of(line, "question_id", place, (str, int)))
                question, tokens = _parts(value_of(line, "text", place))
                if (image, question.lower()) not in annotations:
                    raise UserError(f"{place}: {question!r} about {image} is not in {file}")
                turns[image] += 1
                samples.append(
                    Sample(
                        id=f"{image}-{turns[image]}",
                        visual=image_file(
                            self.folder / "train_images", value_of(line, "image", place), place
                        ),
                        question=question,
                        prompt=self._prompt(question, tokens),
                        references=annotations[image, question.lower()],
                        kind="all",
                        unit=image,
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["image_id", "question", "answers", "ocr_tokens"]
        turns: Counter[str] = Counter()
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                question, image = value_of(row, "question", place), value_of(row, "image_id", place)
                turns[image] += 1
                samples.append(
                    Sample(
                        id=f"{image}-{turns[image]}",
                        visual=load,
                        question=question,
                        prompt=self._prompt(question, ", ".join(value_of(row, "ocr_tokens", place, list))),
                        references=_texts(row, place),
                        kind="all",
                        unit=image,
                    )
                )
        return samples

    def _prompt(self, question: str, tokens: str) -> str:
        asked = question if self.protocol == "llava" else question.capitalize()
        return asked + (f"\n{_OCR}{tokens}" if self.ocr else "") + SHORT_ANSWER

    def released_query(self, sample: Sample) -> str:
        """The OCR tokens stay."""
        return bare_question(sample.prompt)

    def parse(self, sample: Sample, prediction: str) -> str:
        return normalize_prediction(prediction)

    def score(self, sample: Sample, answer: str) -> float:
        return m4c_score(answer, sample.references)


def _parts(text: str) -> tuple[str, str]:
    """Split a prompt of LLaVA's question file into question and OCR tokens."""
    question, _, rest = text.removesuffix(SHORT_ANSWER).partition(f"\n{_OCR}")
    return question, rest


def _by_question(content: Any, file: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return references by image and lower-case question, as ``eval_textvqa.py`` looks them up."""
    found = {}
    for number, entry in enumerate(value_of(as_object(content, file), "data", file, list)):
        place = f"{file}, entry {number}"
        image, question = value_of(entry, "image_id", place), value_of(entry, "question", place)
        found[image, question.lower()] = _texts(entry, place)
    return found


def _texts(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    answers = value_of(entry, "answers", place, list)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{place}: answers={answers}: expected a list of texts")
    return tuple(answers)

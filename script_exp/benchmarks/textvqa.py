"""TextVQA (Singh et al., 2019): questions about text in images, soft accuracy.

Data:
    ``textvqa/llava_textvqa_val_v051_ocr.jsonl`` of LLaVA's ``eval.zip``, with ``TextVQA_0.5.1_val.json`` and
    ``train_images`` of https://textvqa.org/dataset beside it; or
    https://huggingface.co/datasets/lmms-lab-encoder/textvqa, its validation split. 5,000 questions.
Prompt:
    the question, its first letter capitalized and the rest in lower case, and a newline; with ``ocr``,
    "Reference OCR token: ", the comma-separated tokens and a newline; "Answer the question using a single
    word or phrase." LLaVA's file has its questions so; those of the hub's copy are changed alike. lmms-eval
    0.7.3 does the same, by default without the OCR tokens.
Rule:
    LLaVA's ``m4c_evaluator.py``: soft accuracy with predictions and references normalized alike
    (:mod:`script_exp.benchmarks.rules.vqa`). lmms-eval has the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    image_file,
    read_entries,
    read_jsonl,
    texts_of,
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
        ocr: whether the prompt holds the words that an OCR engine found; None for what the protocol does:
            True in LLaVA's published numbers, False by default in lmms-eval.
    """

    ocr: bool | None = None

    name: ClassVar[str] = "textvqa"
    question_file: ClassVar[str] = "llava_textvqa_val_v051_ocr.jsonl"
    parquet: ClassVar[str] = "validation-*.parquet"
    home: ClassVar[str] = HOMES["textvqa"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 5_000, "hub": 5_000}
    lmms_tokens: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ocr", self.ocr, (True, False, None), "true, false or null")

    @property
    def prompt_version(self) -> int:
        return 2 if self.source == "hub" else 1  # LLaVA's file has its questions as they are asked

    @property
    def shows_ocr(self) -> bool:
        """Whether the prompt holds the OCR tokens."""
        return self.protocol == "llava" if self.ocr is None else self.ocr

    def in_full(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return super().in_full(settings) | {"ocr": self.shows_ocr}

    def from_llava(self) -> list[Sample]:
        file = self.folder / _ANNOTATIONS
        annotations = self._by_question(file)
        turns: Counter[str] = Counter()
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                image = str(value_of(line, "question_id", place, (str, int)))
                turns[image] += 1
                question, tokens = _parts(value_of(line, "text", place))
                if (image, question.lower()) not in annotations:
                    raise UserError(f"{place}: {question!r} about {image} is not in {file}")
                samples.append(
                    Sample(
                        id=f"{image}-{turns[image]}",
                        visual=image_file(
                            self.folder / "train_images", value_of(line, "image", place), place
                        ),
                        question=question,
                        prompt=self._prompt(question, tokens),
                        references=_texts(*annotations[image, question.lower()]),
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
                question = value_of(row, "question", place).capitalize()
                image = value_of(row, "image_id", place)
                turns[image] += 1
                samples.append(
                    Sample(
                        id=f"{image}-{turns[image]}",
                        visual=load,
                        question=question,
                        prompt=self._prompt(question, ", ".join(texts_of(row, "ocr_tokens", place))),
                        references=_texts(row, place),
                        kind="all",
                        unit=image,
                    )
                )
        return samples

    def _by_question(self, file: Path) -> dict[tuple[str, str], tuple[dict[str, Any], str]]:
        """Return entry and place by image and lower-case question, as ``eval_textvqa.py`` looks them up."""
        found = {}
        for place, entry in read_entries(file, "data"):
            with self.entry(place):
                key = value_of(entry, "image_id", place), value_of(entry, "question", place).lower()
                found[key] = entry, place
        return found

    def _prompt(self, question: str, tokens: str) -> str:
        asked = question if self.protocol == "llava" else question.capitalize()
        return asked + (f"\n{_OCR}{tokens}" if self.shows_ocr else "") + SHORT_ANSWER

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


def _texts(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    answers = texts_of(entry, "answers", place)
    if not answers:
        raise UserError(f"{place}: answers={answers}: expected a list of texts")
    return tuple(answers)

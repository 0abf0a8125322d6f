"""GQA (Hudson and Manning, 2019): compositional questions about scenes, exact match.

Data:
    ``gqa/llava_gqa_testdev_balanced.jsonl`` of LLaVA's ``eval.zip``, with the questions (1.2) and images of
    https://cs.stanford.edu/people/dorarad/gqa/download.html in ``gqa/data``; or
    https://huggingface.co/datasets/lmms-lab-encoder/GQA, its ``testdev_balanced_instructions`` and
    ``testdev_balanced_images``. 12,578 questions about 398 images.
Prompt:
    the question, a newline, "Answer the question using a single word or phrase."
Rule:
    LLaVA's ``convert_gqa_for_eval.py`` (trailing periods removed, lower case), then the official
    ``eval.py``: exact match. lmms-eval 0.7.3 instead removes all ASCII punctuation from both.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ClassVar

from PIL import Image

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    as_object,
    image_file,
    read_json,
    read_jsonl,
    value_of,
)
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FileBenchmark, Source, bare_question
from script_exp.errors import DataError, UserError

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_QUESTIONS = "testdev_balanced_questions.json"


@dataclass(kw_only=True)
class Gqa(FileBenchmark):
    """The balanced test-dev split; kinds are structural types: verify, query, choose, logical, compare."""

    name: ClassVar[str] = "gqa"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "llava_gqa_testdev_balanced.jsonl"
    parquet: ClassVar[str] = "testdev_balanced_instructions/*.parquet"
    more_files: ClassVar[tuple[str, ...]] = ("testdev_balanced_images/*.parquet",)
    home: ClassVar[str] = HOMES["gqa"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 12_578, "hub": 12_578}

    def from_llava(self) -> list[Sample]:
        file = self._annotations()
        annotations = as_object(read_json(file), str(file))
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                name = str(value_of(line, "question_id", place, (str, int)))
                image = value_of(line, "image", place)
                prompt = value_of(line, "text", place)
                if name not in annotations:
                    raise UserError(f"{place}: question {name} is not in {file}")
                entry, where = value_of(annotations, name, str(file), dict), f"{file}, question {name}"
                samples.append(
                    Sample(
                        id=name,
                        visual=image_file(self.folder / "data" / "images", image, place),
                        question=bare_question(prompt),
                        prompt=prompt,
                        references=(value_of(entry, "answer", where),),
                        kind=value_of(value_of(entry, "types", where, dict), "structural", where),
                        unit=PurePath(image).with_suffix("").as_posix(),
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        files = self.parquet_files("testdev_balanced_images/*.parquet")
        images = {row["id"]: load for _, row, load in ParquetTable(files, ["id"], image="image")}
        table = ParquetTable(
            self.parquet_files(self.parquet), ["id", "imageId", "question", "answer", "types"]
        )
        samples = []
        for place, row, _ in table:
            with self.entry(place):
                question, image = value_of(row, "question", place), value_of(row, "imageId", place)
                samples.append(
                    Sample(
                        id=value_of(row, "id", place),
                        visual=images.get(image, _missing(f"{place}: there is no image {image}")),
                        question=question,
                        prompt=question + SHORT_ANSWER,
                        references=(value_of(row, "answer", place),),
                        kind=value_of(value_of(row, "types", place, dict), "structural", place),
                        unit=image,
                    )
                )
        return samples

    def parse(self, sample: Sample, prediction: str) -> str:
        if self.protocol == "lmms":
            return _lmms(prediction.strip())
        return prediction.strip().rstrip(".").lower()

    def score(self, sample: Sample, answer: str) -> float:
        (reference,) = sample.references
        return float(answer == (_lmms(reference) if self.protocol == "lmms" else reference))

    def _annotations(self) -> Path:
        """Return the file of the official questions, which the archive may have in a subfolder."""
        places = [self.folder / "data" / sub / _QUESTIONS for sub in ("", "questions1.2", "questions")]
        return next((place for place in places if place.is_file()), places[0])


def _lmms(text: str) -> str:
    return text.lower().translate(_NO_PUNCTUATION)


def _missing(why: str) -> Callable[[], Image.Image]:
    def load() -> Image.Image:
        raise DataError(why)

    return load

"""What a benchmark gives: samples, the prompt of its official protocol, and the official score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One question about one image.

    Attributes:
        id: stable name, unique in the benchmark.
        image: loads the image when called.
        question: the bare question; the query encoder sees this text.
        references: accepted answers.
        kind: group for the score by kind.
        unit: what is drawn anew in the bootstrap: samples of one unit are not independent (questions on one
            image).
    """

    id: str
    image: Callable[[], Image.Image] = field(repr=False)
    question: str
    references: tuple[str, ...]
    kind: str
    unit: str


class Benchmark(ABC):
    """Samples, prompt and score. A benchmark never sees the pruner.

    Attributes:
        name: as in ``conf/benchmark``.
        prompt_version: goes up whenever the prompt or the score changes; part of a run's identity.
        max_new_tokens: length of an answer in the official protocol.
    """

    name: ClassVar[str]
    prompt_version: ClassVar[int]
    max_new_tokens: ClassVar[int]

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """All samples, always in the same order; images are not loaded yet."""

    @abstractmethod
    def prompt(self, sample: Sample) -> str:
        """The user's text of the official protocol, without the model's chat template."""

    @abstractmethod
    def parse(self, prediction: str) -> str:
        """The answer in a raw prediction, normalized as the official rule does."""

    @abstractmethod
    def score(self, sample: Sample, answer: str) -> float:
        """Score in [0, 1] of a parsed answer."""

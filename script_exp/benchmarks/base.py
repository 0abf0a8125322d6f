"""The interface of a benchmark: samples with the official prompt, the official scoring rule, the metric."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from PIL import Image

from script_exp.benchmarks.rules.metric import MeanScore, Metric
from script_exp.errors import DataError, UserError

_LOOKED_AT = {"image": 4, "video": 1}
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_UNUSABLE = re.compile("[\\x00\\ud800-\\udfff]")  # NUL, half of a surrogate pair


class TextError(UserError):
    """A text of a sample that cannot be used."""


@dataclass(frozen=True)
class Sample:
    """One question about one image or video, or about several images.

    Attributes:
        id: stable name, unique in the benchmark.
        visual: loads the image, or the frames of the video
            (:class:`~script_exp.benchmarks.reading.frame_count.Frames`), or the several images, when called.
        question: the bare question.
        prompt: the user's text of the official protocol, without the model's conversation around it.
        references: accepted answers.
        kind: group for the score by kind.
        unit: name of the image or video, or of all images. Samples of one unit share it: it is loaded and
            encoded once for all of them, and intervals take them together, since they are not independent.
        extra: other data that the rule needs, for example the choices.
        query_text: what the query encoder sees; None for the bare question.
        images: how many images ``visual`` loads; they come first in the prompt. 1 for a video.

    Raises:
        TextError: if id, kind, unit or question is empty or not text, if one of the first three has control
            characters, or a text one that cannot be stored.
    """

    id: str
    visual: Callable[[], Any] = field(repr=False)
    question: str
    prompt: str
    references: tuple[str, ...]
    kind: str
    unit: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    query_text: str | None = None
    images: int = 1

    def visuals(self) -> Sequence[Image.Image | Sequence[Image.Image]]:
        """Load the images, or the video as a list of one."""
        loaded = self.visual()
        return [loaded] if self.images == 1 else loaded

    @property
    def query(self) -> str:
        """The text that the query encoder sees."""
        return self.question if self.query_text is None else self.query_text

    def __post_init__(self) -> None:
        for key in ("id", "kind", "unit", "question"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.strip():
                raise TextError(f"{key}={text!r}: expected a text that is not empty")
        for key in ("id", "kind", "unit"):
            if _CONTROL.search(text := getattr(self, key)):
                raise TextError(f"{key}={text!r}: expected text without control characters")
        for text in (self.question, self.prompt, *self.references):
            if _UNUSABLE.search(text):
                raise TextError(f"{text!r}: expected text without NUL or half of a surrogate pair")


def spread_over(samples: Sequence[Sample], few: int) -> Sequence[Sample]:
    """Return at most ``few`` of the samples, spread over the benchmark."""
    return samples[:: max(1, len(samples) // few)][:few]


class Predicted(Protocol):
    """A model's prediction for a sample, for example a line of ``samples.jsonl``."""

    @property
    def id(self) -> str: ...
    @property
    def prediction(self) -> str: ...
    @property
    def answer(self) -> str: ...


class Benchmark(ABC):
    """Samples and rules. A benchmark never sees the pruner.

    Attributes:
        name: as in ``conf/benchmark``.
        prompt_version: increases whenever the prompt changes; part of a run's identity.
        rule_version: increases whenever parsing, the score or the metric changes. Not part of the identity:
            ``runners/score.py`` updates finished runs to it without a model. Where one protocol or source of
            a benchmark changes, both are properties that depend on it, so that the others' runs stay valid.
        scoring_settings: settings that affect only the rule, so that ``runners/score.py`` may change them.
        modality: ``image`` or ``video``.
    """

    name: ClassVar[str]
    scoring_settings: ClassVar[frozenset[str]] = frozenset()
    modality: ClassVar[str] = "image"

    @property
    @abstractmethod
    def prompt_version(self) -> int:
        """Version of the prompt."""

    @property
    def rule_version(self) -> int:
        """Version of the scoring rule."""
        return 1

    @property
    @abstractmethod
    def max_new_tokens(self) -> int:
        """Maximum length of an answer in the official protocol."""

    @property
    def frame_count(self) -> object:
        """How many frames of a video the model gets: a number if each has as many; None for images."""
        return None

    def in_full(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings as a run records them: with what is used for those that are null.

        Args:
            settings: the settings that the benchmark was made from, by name.
        """
        return dict(settings)

    @property
    def metric(self) -> Metric:
        """Computes the official number from the scored answers."""
        return MeanScore()

    @property
    def is_scored(self) -> bool:
        """Whether answers can be scored; if not, a server scores the submission file."""
        return True

    @property
    def has_judge(self) -> bool:
        """Whether a judge scores. A run leaves this to ``runners/score.py``, which can be repeated."""
        return False

    @property
    def skips_errors(self) -> bool:
        """Whether a sample whose image cannot be loaded is left out, rather than ending the run."""
        return False

    @property
    def left_out(self) -> Mapping[str, str]:
        """What is wrong with the entries that were left out of the samples, by file and line."""
        return {}

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """Return all samples, always in the same order; images are not loaded yet.

        Raises:
            UserError: if the data is missing or damaged.
        """

    def fingerprint(self) -> str | None:
        """Return a hash of the samples, part of a run's identity, so that changed data is another run.

        It covers ids, questions, prompts and references, in order. Images and videos are left out: to read
        them all would take minutes, and copies of one data set differ in how they encode them (a run looks
        at a few: :meth:`pictures`). None only for a benchmark that is made from its settings alone.
        """
        digest = hashlib.sha256()
        for sample in self.samples():
            entry = [sample.id, sample.question, sample.prompt, *sample.references]
            digest.update(json.dumps(entry).encode())
        return digest.hexdigest()[:16]

    def pictures(self) -> str | None:
        """Return a hash of the pixels of a few images or of a video, which tells that they were changed.

        It is not part of a run's identity: :meth:`fingerprint` says why. None for a benchmark that is made
        from its settings alone, and where one of them does not load.
        """
        if self.fingerprint() is None:
            return None
        digest = hashlib.sha256()
        try:
            for sample in spread_over(self.samples(), _LOOKED_AT[self.modality]):
                for visual in sample.visuals():
                    for image in [visual] if isinstance(visual, Image.Image) else visual:
                        digest.update(f"{image.size}".encode() + image.tobytes())
        except DataError:
            return None
        return digest.hexdigest()[:16]

    def released_query(self, sample: Sample) -> str:
        """Return what CDPruner's and Script's released code embeds: the prompt without its last instruction.

        For most benchmarks that is the bare question, with its choices if it has any.
        """
        return sample.question

    @abstractmethod
    def parse(self, sample: Sample, prediction: str) -> str:
        """Return the answer in a raw prediction, normalized as in the official rule."""

    def score(self, sample: Sample, answer: str) -> float:
        """Return the score in [0, 1] of a parsed answer: 1 for a reference. Other rules override this."""
        return float(answer in sample.references)

    def submission(self, predicted: Iterable[Predicted]) -> tuple[str, str | bytes] | None:
        """Return name and contents of the file for the server; None if there is none."""
        return None

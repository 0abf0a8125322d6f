"""Questions of lmms-eval's tasks as samples of a benchmark, which our loop answers.

lmms-eval scores the answers itself: a benchmark here only says how long an answer may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from PIL import Image

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.reading.frame_count import FrameCount, frame_count
from script_exp.benchmarks.reading.frames import video_frames
from script_exp.benchmarks.reading.lmms_eval import (
    as_image,
    as_video,
    only_visual,
    prompt_of,
    without_prompts,
)
from script_exp.errors import UserError


@dataclass(kw_only=True)
class AskedAboutImages(Benchmark):
    """Questions about an image each; lmms-eval has the samples and the rule."""

    max_tokens: int = 1024

    name: ClassVar[str] = "lmms-eval"
    prompt_version: ClassVar[int] = 1

    @property
    def max_new_tokens(self) -> int:
        return self.max_tokens

    def samples(self) -> Sequence[Sample]:
        raise UserError("benchmark=lmms-eval: expected questions from lmms-eval; it has none of its own")

    def fingerprint(self) -> str | None:
        return None

    def released_query(self, sample: Sample) -> str:
        return str(sample.extra["released"])

    def parse(self, sample: Sample, prediction: str) -> str:
        return prediction

    def score(self, sample: Sample, answer: str) -> float:
        return 0.0


@dataclass(kw_only=True)
class AskedAboutVideos(AskedAboutImages):
    """Questions about a video each.

    Attributes:
        frames: as in :class:`~script_exp.benchmarks.reading.video.VideoBenchmark`.
    """

    frames: int | dict[str, Any] | None = None

    modality: ClassVar[str] = "video"

    @property
    def frame_count(self) -> FrameCount:
        """How many frames of a video are loaded."""
        return frame_count(self.frames)


def sample_of(request: Any, documents: Any, question: str, frames: FrameCount | None) -> Sample:
    """Return the sample for a request of the type ``generate_until``.

    Its image is loaded for that, and not kept: questions about the same pixels share a unit.

    Args:
        request: an lmms-eval ``Instance`` with (context, settings, doc_to_visual, number, task, split).
        documents: the task's documents in that split.
        question: ``bare`` or ``prompt``.
        frames: frames of a video; None for images.

    Raises:
        UserError: if it has no text, or is not about images, or one video.
    """
    context, _, doc_to_visual, number, task, split = request.args
    name = f"{task}/{split}/{number}"
    text = prompt_of(context)
    if not text:
        raise UserError(f"{name} has no text: expected a question")
    bare, released = without_prompts(text, getattr(doc_to_visual, "__self__", None))
    count = 1
    if frames is None:
        load = partial(_images, doc_to_visual, documents, number, name)
        images = load()
        count, unit = len(images), "-".join(map(_pixels, images))
        visual: Callable[[], Any] = load if count > 1 else partial(_first, load)
    else:
        path = as_video(only_visual(doc_to_visual, documents, number, name), name)
        visual, unit = video_frames(path.parent, path.name, name, frames), str(path)
    return Sample(
        id=name,
        visual=visual,
        question=bare if question == "bare" else text,
        prompt=text,
        references=(),
        kind=task,
        unit=unit,
        extra={"released": released},
        images=count,
    )


def _images(doc_to_visual: Callable[[Any], Any], documents: Any, number: int, name: str) -> list[Image.Image]:
    visuals = doc_to_visual(documents[number])
    if not isinstance(visuals, list | tuple) or not visuals:
        raise UserError(f"{name} has no images: expected one or several; without any, nothing is pruned")
    return [as_image(visual, name) for visual in visuals]


def _first(load: Callable[[], list[Image.Image]]) -> Image.Image:
    return load()[0]


def _pixels(image: Image.Image) -> str:
    """Return a name for the pixels of an image."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16)
    return f"{digest.hexdigest()}-{image.width}x{image.height}"

"""The embedded video benchmark: questions about short clips of shapes that move, come and go.

Clips are made from a seed; nothing is downloaded. docs/clips.md explains what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from PIL import Image

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.reading.frame_count import Frames
from script_exp.errors import check_whole
from script_exp.shapes.clip_questions import made_clips
from script_exp.shapes.clips import FEWEST_FRAMES, MOST_FRAMES, Clip
from script_exp.shapes.world import Question

FRAMES_PER_SECOND = 2.0
"""What the clips say of their time, for models that put seconds into the prompt."""
_MOST_CLIPS = 100_000


@dataclass
class Clips(Benchmark):
    """One-word questions of three kinds; the metric is the share of exact answers.

    Attributes:
        clips: number of clips, each with one question of every kind.
        frames: frames of a clip. The model gets all of them: what a question is about may be in one only.
        clip_seed: seed of the clips.
    """

    clips: int
    frames: int
    clip_seed: int
    name: ClassVar[str] = "clips"
    prompt_version: ClassVar[int] = 1
    modality: ClassVar[str] = "video"

    def __post_init__(self) -> None:
        check_whole("clips", self.clips, lowest=1, highest=_MOST_CLIPS)
        check_whole("frames", self.frames, lowest=FEWEST_FRAMES, highest=MOST_FRAMES)
        check_whole("clip_seed", self.clip_seed, lowest=0)

    @property
    def frame_count(self) -> int:
        return self.frames

    @property
    def max_new_tokens(self) -> int:
        return 4

    @cached_property
    def _samples(self) -> list[Sample]:
        samples = []
        for number, (clip, questions) in enumerate(made_clips(self.clip_seed, self.clips, self.frames)):
            load = _loader(clip)
            samples += [
                Sample(
                    id=self._id(number, question),
                    visual=load,
                    question=question.text,
                    prompt=question.text,
                    references=(question.answer,),
                    kind=question.kind,
                    unit=self._unit(number),
                )
                for question in questions
            ]
        return samples

    def samples(self) -> Sequence[Sample]:
        return self._samples

    def evidence(self) -> dict[str, np.ndarray]:
        """Return (objects, T, 24, 24) by sample: the share of each patch that each needed object covers."""
        needed = {}
        for number, (clip, questions) in enumerate(made_clips(self.clip_seed, self.clips, self.frames)):
            _, coverage = clip.paint()
            for question in questions:
                needed[self._id(number, question)] = coverage[list(question.objects)]
        return needed

    def _id(self, number: int, question: Question) -> str:
        return f"{self._unit(number)}-{question.kind}"

    def _unit(self, number: int) -> str:
        return f"{self.clip_seed}-{number:04d}"

    def fingerprint(self) -> str | None:
        """Return None: settings and ``prompt_version`` determine the samples. Not in subclasses."""
        return None if type(self) is Clips else super().fingerprint()

    def parse(self, sample: Sample, prediction: str) -> str:
        return prediction.strip().lower()


def _loader(clip: Clip) -> Callable[[], Frames]:
    return lambda: Frames(map(Image.fromarray, clip.paint()[0]), rate=FRAMES_PER_SECOND)

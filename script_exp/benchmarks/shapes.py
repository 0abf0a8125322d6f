"""The embedded benchmark: questions about synthetic scenes of small shapes and digits on cluttered ground.

Scenes are rendered from a seed; nothing is downloaded. docs/tiny_model.md explains what its numbers mean and
what they do not mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from PIL import Image

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.errors import check_whole
from script_exp.shapes.next_scenes import NEXT_WORLD
from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.shapes.world import World

_MOST_SCENES = 100_000  # 10 GB in memory


@dataclass
class Shapes(Benchmark):
    """One-word questions of several kinds; the metric is the share of exact answers.

    Attributes:
        scenes: number of scenes, each with several questions.
        scene_seed: seed of the held-out scenes; no training scene comes from it.
    """

    scenes: int
    scene_seed: int
    name: ClassVar[str] = "shapes"
    prompt_version: ClassVar[int] = 2
    world: ClassVar[World] = FIRST_WORLD

    def __post_init__(self) -> None:
        check_whole("scenes", self.scenes, lowest=1, highest=_MOST_SCENES)
        check_whole("scene_seed", self.scene_seed, lowest=0)

    @property
    def max_new_tokens(self) -> int:
        return 4

    @cached_property
    def _samples(self) -> list[Sample]:
        samples = []
        for number, (scene, questions) in enumerate(self.world.held_out(self.scene_seed, self.scenes)):
            unit = scene_id(self.scene_seed, number)
            load = _loader(scene.image)
            for turn, question in enumerate(questions):
                samples.append(
                    Sample(
                        id=f"{unit}-{turn}",
                        visual=load,
                        question=question.text,
                        prompt=question.text,
                        references=(question.answer,),
                        kind=question.kind,
                        unit=unit,
                    )
                )
        return samples

    def samples(self) -> Sequence[Sample]:
        return self._samples

    def fingerprint(self) -> str | None:
        """Return None: the settings and ``prompt_version`` determine the samples. Not in other subclasses."""
        return None if type(self) in (Shapes, SecondShapes, NextShapes) else super().fingerprint()

    def parse(self, sample: Sample, prediction: str) -> str:
        return prediction.strip().lower()


class SecondShapes(Shapes):
    """Questions about the second world: relations, small print, and what must be read elsewhere."""

    name: ClassVar[str] = "shapes_2"
    prompt_version: ClassVar[int] = 1
    world: ClassVar[World] = SECOND_WORLD


class NextShapes(Shapes):
    """Questions about pictures of up to four crops, with digits in small print."""

    name: ClassVar[str] = "shapes_next"
    prompt_version: ClassVar[int] = 1
    world: ClassVar[World] = NEXT_WORLD


def scene_id(scene_seed: int, number: int) -> str:
    """Return the name of a scene; a sample's id is this name, a dash, and the number of the question."""
    return f"{scene_seed}-{number:04d}"


def _loader(pixels: np.ndarray) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(pixels)

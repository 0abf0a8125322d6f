"""What one step of the language model's training is made of, shared by stages 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from script_exp.shapes.scenes import Scene

FIRST = {"exist": 4.0, "color": 1.0, "shape": 1.0, "where": 1.0}
"""Kinds of question that the language stage begins with, by how often they are asked."""
ALL = {
    "color": 2.0, "shape": 1.0, "digit": 1.0, "where": 2.0, "exist": 1.0, "both": 1.0, "count": 3.0,
    "relation": 1.0, "ground": 1.0,
}  # fmt: skip
BENCHMARK = {
    "color": 1.5, "shape": 0.8, "digit": 1.2, "exist": 0.7, "both": 1.5, "count": 2.5, "ground": 0.8,
}  # fmt: skip
"""Kinds of question of the joint stage: those of the benchmark, and those most that are learned slowest."""
SLOWEST = {
    "color": 2.5, "shape": 1.2, "digit": 1.0, "exist": 0.3, "both": 0.8, "count": 3.0, "ground": 0.3,
}  # fmt: skip
"""Of the last stage: most of what two seeds had not yet learned after the joint stage."""
LEANING_TO_YES = frozenset({"red", "orange", "yellow", "green"})


def chance_of_yes(scene: Scene, leaning: float) -> float:
    """The chance that yes answers a yes-or-no question about a scene: ``leaning``, or what is left of 1.

    Whether a color is there takes two things, the color in the question and those in the image, and with
    balanced answers neither alone says anything: the language model stayed at chance for thousands of steps,
    and for hundreds where windows had one object. A leaning makes each of them worth reading. To compare
    them is what remains to be learned when it ends.
    """
    return leaning if scene.planted in LEANING_TO_YES else 1 - leaning


@dataclass(frozen=True)
class Diet:
    """One kind of step.

    Attributes:
        pool: index of the pool that its windows are from.
        batch: windows.
        questions: per window.
        keep: range of the share of patches kept.
    """

    pool: int
    batch: int
    questions: int
    keep: tuple[float, float] = (1.0, 1.0)

    def kept(self, patches: int, rng: np.random.Generator) -> Tensor:
        """(batch, kept) sorted patch indices: a uniform draw, the same number in every row."""
        kept = max(1, round(patches * rng.uniform(*self.keep)))
        return torch.from_numpy(rng.random((self.batch, patches))).argsort(1)[:, :kept].sort(1).values

    def kinds(self, weights: dict[str, float], rng: np.random.Generator) -> list[list[str]]:
        """Kinds of question to ask about each image, as often as ``weights`` says."""
        chances = np.array(list(weights.values()))
        size = (self.batch, self.questions)
        drawn: list[list[str]] = rng.choice(list(weights), size, p=chances / chances.sum()).tolist()
        return drawn


def positions(places: Tensor, patches: int, rng: np.random.Generator) -> Tensor:
    """(batch, kept) position ids in the image: mostly contiguous after dropping, sometimes the original."""
    if places.shape[1] < patches and rng.random() < 0.6:
        return torch.arange(places.shape[1]).expand(len(places), -1)
    return places

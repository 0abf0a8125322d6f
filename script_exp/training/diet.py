"""What the language model sees in one step of training, shared by stages 2 to 4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from script_exp.shapes.scenes import Scene

FIRST = {"exist": 4.0, "color": 1.0, "shape": 1.0, "where": 1.0}
"""Kinds of question at the start of the language stage, with their relative frequency."""
ALL = {
    "color": 2.0, "shape": 1.0, "digit": 1.0, "where": 2.0, "exist": 1.0, "both": 1.0, "count": 3.0,
    "relation": 1.0, "ground": 1.0,
}  # fmt: skip
BENCHMARK = {
    "color": 1.5, "shape": 0.8, "digit": 1.2, "exist": 0.7, "both": 1.5, "count": 2.5, "ground": 0.8,
}  # fmt: skip
"""Kinds of question in the joint stage: those of the benchmark, most often those learned slowest."""
SLOWEST = {
    "color": 2.5, "shape": 1.2, "digit": 1.0, "exist": 0.3, "both": 0.8, "count": 3.0, "ground": 0.3,
}  # fmt: skip
"""Kinds in the last stage: most often those that two seeds had not yet learned after the joint stage."""
LEANING_TO_YES = frozenset({"red", "orange", "yellow", "green"})


def chance_of_yes(scene: Scene, leaning: float) -> float:
    """Return the chance that the answer to a yes-or-no question is yes: ``leaning`` or ``1 - leaning``.

    Finding a color means comparing the color in the question with those in the image. With balanced answers
    neither alone is informative: the language model stayed at chance for thousands of steps, and for hundreds
    if windows had one object. A leaning makes each of them informative. When it ends, only the comparison
    remains to be learned.
    """
    return leaning if scene.planted in LEANING_TO_YES else 1 - leaning


@dataclass(frozen=True)
class Diet:
    """One kind of step.

    Attributes:
        pool: index of the pool that the windows are from.
        batch: number of windows.
        questions: questions per window.
        keep: range of the share of patches kept.
    """

    pool: int
    batch: int
    questions: int
    keep: tuple[float, float] = (1.0, 1.0)

    def kept(self, patches: int, rng: np.random.Generator) -> Tensor:
        """Draw sorted patch indices (batch, kept) uniformly, the same number in every row."""
        kept = max(1, round(patches * rng.uniform(*self.keep)))
        return torch.from_numpy(rng.random((self.batch, patches))).argsort(1)[:, :kept].sort(1).values

    def kinds(self, weights: dict[str, float], rng: np.random.Generator) -> list[list[str]]:
        """Draw the kinds of question to ask about each image, in proportion to ``weights``."""
        chances = np.array(list(weights.values()))
        size = (self.batch, self.questions)
        drawn: list[list[str]] = rng.choice(list(weights), size, p=chances / chances.sum()).tolist()
        return drawn


def positions(places: Tensor, patches: int, rng: np.random.Generator) -> Tensor:
    """Return position ids in the image (batch, kept): after dropping mostly contiguous, else the original."""
    if places.shape[1] < patches and rng.random() < 0.6:
        return torch.arange(places.shape[1]).expand(len(places), -1)
    return places

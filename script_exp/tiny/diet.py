"""What one step of the language model's training is made of, shared by stages 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from script_exp.tiny.questions import KINDS

KIND_WEIGHTS = {"count": 3.0, "color": 2.0}
"""How much more often than the others the slowly learned kinds are asked while training."""


@dataclass(frozen=True)
class Diet:
    """One kind of step: pool index, batch size, questions per image, and the range of the share of patches
    kept."""

    pool: int
    batch: int
    questions: int
    keep: tuple[float, float] = (1.0, 1.0)

    def kept(self, patches: int, rng: np.random.Generator) -> Tensor:
        """(batch, kept) sorted patch indices: a uniform draw, the same number in every row."""
        kept = max(1, round(patches * rng.uniform(*self.keep)))
        return torch.from_numpy(rng.random((self.batch, patches))).argsort(1)[:, :kept].sort(1).values

    def kinds(self, rng: np.random.Generator) -> list[list[str]]:
        """Kinds of question to ask about each image, weighted by `KIND_WEIGHTS`."""
        chances = np.array([KIND_WEIGHTS.get(kind, 1.0) for kind in KINDS])
        drawn: list[list[str]] = rng.choice(
            KINDS, (self.batch, self.questions), p=chances / chances.sum()
        ).tolist()
        return drawn


def positions(places: Tensor, patches: int, rng: np.random.Generator) -> Tensor:
    """(batch, kept) position ids relative to the image: mostly contiguous after dropping, sometimes the
    original ones."""
    if places.shape[1] < patches and rng.random() < 0.6:
        return torch.arange(places.shape[1]).expand(len(places), -1)
    return places

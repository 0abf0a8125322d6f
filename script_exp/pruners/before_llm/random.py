"""Uniformly drawn tokens: the lower bound that every method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import check_whole
from script_exp.pruners.arithmetic.seeded import generator
from script_exp.pruners.contract.pruner import ScorePruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Random(ScorePruner):
    """Keep k of n tokens, drawn uniformly without replacement for each crop.

    The draw depends only on the seed and the sample (``VisualTokens.key``), not on the order of the samples,
    the batch size or the device.

    Attributes:
        seed: seed of the run.
    """

    seed: int = 0
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("seed", self.seed, 0)

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        crops, n, _ = visual.projected.shape
        draws = torch.rand(crops, n, generator=generator(self.seed, visual.key))
        return draws.to(visual.projected.device)

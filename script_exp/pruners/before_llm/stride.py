"""Stride: evenly spaced tokens, a baseline that looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Stride(Pruner):
    """Keep the tokens i_j = floor((j + 1/2) n / k) of the raster, j = 0 .. k - 1.

    These are the centers of k equal parts of the raster, so that exactly k tokens are kept. Published uniform
    samples keep every floor(n / k)-th token, which can be more than k.
    """

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        crops, n, _ = visual.projected.shape
        place = torch.arange(k, device=visual.projected.device)
        return ((2 * place + 1) * n // (2 * k)).expand(crops, k)

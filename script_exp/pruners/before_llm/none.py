"""No pruning: the upper bound, which keeps every visual token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class NoPruning(Pruner):
    """Keep all tokens. The budget is ignored, so a sweep over budgets runs this once."""

    budget: int | float = 1

    def kept_of(self, tokens: int) -> int:
        return tokens

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        crops = visual.projected.shape[0]
        return torch.arange(k, device=visual.projected.device).expand(crops, k)

"""DivPrune: the tokens that are farthest from each other.

Source: Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", CVPR 2025,
arXiv 2503.02175, section on the max-min diversity problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.max_min import max_min
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import Pruner, Query, VisualTokens


@dataclass(kw_only=True)
class DivPrune(Pruner):
    """Keep k tokens whose smallest mutual distance is large, chosen greedily.

    With the projected tokens p_i and D_ij = 1 - cos(p_i, p_j):

    1. the first pick is the most isolated token, argmax_i min_{j != i} D_ij;
    2. each further pick is the token farthest from the picks, argmax_i min_{j picked} D_ij.

    Neither the question nor attention is used, so towers with and without a class token are treated alike.
    The released code does not mask the picks, so that it can pick a token twice where many tokens are equal;
    here it picks the remaining ones. On LLaVA-NeXT it makes one choice over the tokens of all crops and the
    separators between rows; here each crop is pruned alone.
    """

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        distance = 1 - cosines(visual.projected)
        itself = torch.eye(distance.shape[-1], dtype=torch.bool, device=distance.device)
        isolated = distance.masked_fill(itself, torch.inf).amin(dim=-1).argmax(dim=-1)
        return max_min(distance, isolated, k)

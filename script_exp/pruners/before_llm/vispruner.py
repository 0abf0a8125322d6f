"""VisPruner: the most attended patches, and a diverse part of the others.

Source: Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in
VLMs", ICCV 2025, arXiv 2412.01818 v2, section on important and diverse tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_PER_ROUND = 8


@dataclass(kw_only=True)
class VisPruner(Pruner):
    """Keep the most attended patches, and what remains of the others when their duplicates are removed.

    With the class token's attention a_i and the tower's features x_i of patch i:

    1. k_imp = floor(r k) patches with the highest a are important; the list L has the others, in descending
       order of a, and k_div = k - k_imp of them will stay.
    2. While L is longer than k_div, split it by position into A (even) and B (odd), find for each i in A the
       similarity s_i = max_{j in B} cos(x_i, x_j), and remove the 8 members of A with the highest s, fewer
       if fewer have to go. L becomes the rest of A in descending order of s, then B in its order.

    L is not put back to raster order, which would change most of the diverse part. If a round leaves an odd
    number, A is the longer half, and a round removes at most all of A; neither happens at the published
    budgets.

    A tower without a class token ranks by the attention that each patch receives, in the layer that the model
    reads; a model without features from a tower compares projected tokens.

    Attributes:
        important: r, share of the budget for the most attended patches; 1 is FasterVLM. The released scripts
            use 0.75 for MME at 64 tokens.
    """

    important: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("important", self.important, lambda v: 0 <= v <= 1, "a share of the budget in [0, 1]")

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        crops, n, _ = visual.projected.shape
        ranked = top_indices(visual.signals[SALIENCY], n)
        important, rest = ranked.tensor_split([int(self.important * k)], dim=1)
        diverse = k - important.shape[1]
        if diverse == 0:
            return important
        similarity = cosines(visual.features)
        rows = torch.arange(crops, device=rest.device)[:, None, None]
        for removed in removals(n - important.shape[1], diverse):
            even, odd = rest[:, 0::2], rest[:, 1::2]
            nearest = similarity[rows, even[:, :, None], odd[:, None]].amax(dim=-1)
            by_similarity = even.gather(1, top_indices(nearest, even.shape[1]))
            rest = torch.cat([by_similarity[:, removed:], odd], dim=1)
        return torch.cat([important, rest], dim=1)


def removals(length: int, wanted: int) -> list[int]:
    """Return how many tokens each round removes from a list, until ``wanted`` of its tokens are left."""
    counts = []
    while length > wanted:
        even = length - length // 2
        counts.append(min(_PER_ROUND, length - wanted, even))
        length -= counts[-1]
    return counts

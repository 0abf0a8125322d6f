"""DivPrune: the tokens that are farthest from each other.

Source: Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", CVPR 2025,
arXiv 2503.02175, section on the max-min diversity problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.max_min import max_min
from script_exp.pruners.arithmetic.picture import check_over
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class DivPrune(Pruner):
    """Keep k tokens whose smallest mutual distance is large, chosen greedily.

    With the projected tokens p_i and D_ij = 1 - cos(p_i, p_j):

    1. the first pick is the most isolated token, argmax_i min_{j != i} D_ij;
    2. each further pick is the token farthest from the picks, argmax_i min_{j picked} D_ij.

    Neither the question nor attention is used, so towers with and without a class token are treated alike.
    The released code does not mask the picks, so that it can pick a token twice where many tokens are equal;
    here it picks the remaining ones.

    Attributes:
        over: what is chosen from: all crops of the ``image`` at once (all frames of a video), so that crops
            keep different numbers of tokens with the same total, as released for LLaVA-NeXT; or each
            ``crop`` alone. The released code also chooses from the separators between rows; here the model's
            setting decides whether they stay.
    """

    over: str = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_over(self.over)

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if self.over == "crop":
            return farthest(visual.projected, k)
        return farthest(visual.projected.flatten(0, 1)[None], len(visual.projected) * k)[0]


def farthest(tokens: Tensor, k: int) -> Tensor:
    """Return the picks (crops, k) of tokens (crops, n, d), in their order."""
    distance = 1 - cosines(tokens)
    itself = torch.eye(distance.shape[-1], dtype=torch.bool, device=distance.device)
    isolated = distance.masked_fill(itself, torch.inf).amin(dim=-1).argmax(dim=-1)
    return max_min(distance, isolated, k)

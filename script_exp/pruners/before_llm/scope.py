"""SCOPE: greedy coverage of the image, weighted by saliency.

Source: "SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodel LLMs", NeurIPS 2025, arXiv
2510.24214, section on saliency-coverage oriented pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.coverage import greedy_coverage
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Scope(Pruner):
    """Keep the tokens that cover the image best, salient ones first.

    With the tower's features x_i, S_ij = cos(x_i, x_j), the class token's attention a_j, and the coverage
    c_i = max(0, max_{l picked} S_il) of token i, each step picks

        argmax_j a_j^alpha sum_i max(0, S_ij - c_i)

    among the tokens not picked yet; the sum is over all tokens. The released code also holds a variant that
    adds a_j^alpha instead of multiplying by it, and trials on projected tokens; neither is its default. On
    LLaVA-NeXT it divides a total by the number of crops; here the budget is per crop.

    A tower without a class token weighs by the attention that each patch receives; a model without features
    from a tower compares projected tokens.

    Attributes:
        alpha: weight of the saliency; 0 is coverage alone.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, lambda v: 0 <= v <= 4, "a number in [0, 4]")

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return greedy_coverage(cosines(visual.features), k, visual.signals[SALIENCY] ** self.alpha)

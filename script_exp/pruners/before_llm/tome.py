"""ToMe: rounds of bipartite merging, here of the projected tokens.

Source: Bolya et al., "Token merging: your ViT but faster", ICLR 2023, arXiv 2210.09461, section on bipartite
soft matching.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from script_exp.errors import check_choice
from script_exp.pruners.arithmetic.merging import MergedTokens, bipartite_round
from script_exp.pruners.contract.pruner import Pruner, gather_tokens
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

KEYS = Signal("keys")


@dataclass(kw_only=True)
class ToMe(Pruner):
    """Merge the tokens that resemble each other most, round by round, until k are left.

    A round splits the list of m tokens into A (even positions) and B (odd ones). Each a in A has an edge to
    the b in B with the highest cosine. The r = min(m - k, floor(m / 2)) tokens of A with the highest edges
    join their b, which becomes the mean of all tokens that it stands for,

        b <- (s_b b + sum_a s_a a) / (s_b + sum_a s_a),   s_b <- s_b + sum_a s_a.

    The list becomes [the rest of A by descending edge, B in order], as in the released code without a class
    token. So 576 tokens pass 288 and 144 on the way to 128.

    ToMe merges inside the vision tower, a few tokens in each layer, and compares attention keys. Here the
    tower runs unchanged, so the method is ToMe's round applied to what enters the LLM, as in AIM (arXiv
    2412.03248). A merged token has the place of its b, so positions can be preserved. No class token is used.

    Attributes:
        metric: what the cosines are computed of: the ``projected`` tokens, or the ``keys`` of the tower's
            last layer that is read (mean over the heads), which are merged like the tokens.
        size_weighted: whether s counts; false: the plain mean of b and those that join it in a round (AIM).
    """

    metric: str = "projected"
    size_weighted: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("metric", self.metric, ("projected", "keys"))
        check_choice("size_weighted", self.size_weighted, (True, False))

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([KEYS] if self.metric == "keys" else [])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return self._merged(visual, k).place

    def keep(self, visual: VisualTokens, query: Query | None, k: int) -> tuple[Tensor, Tensor]:
        merged = self._merged(visual.map(Tensor.float), k)
        place, in_raster = merged.place.sort(dim=-1)
        return place, gather_tokens(merged.tokens, in_raster).to(visual.projected.dtype)

    def _merged(self, visual: VisualTokens, k: int) -> MergedTokens:
        metric = visual.signals[KEYS] if self.metric == "keys" else None
        merged = MergedTokens.single(visual.projected, metric)
        while (length := merged.place.shape[1]) > k:
            remove = min(length - k, length // 2)
            merged = bipartite_round(merged, remove, size_weighted=self.size_weighted)
        return merged

"""FitPrune: every layer deletes some tokens, as many as keep the attention of a calibration set in shape.

Source: Ye et al., "Fit and prune: fast and training-free visual token pruning for multi-modal large language
models", AAAI 2025, arXiv 2409.10197.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from torch import Tensor

from script_exp.errors import check_choice
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, Rows
from script_exp.pruners.contract.listed_pruner import listed_counts

_SELF, _CROSS = Rows("visual", heads="max"), Rows("text", heads="max")
_DEPTH, _TOKENS = 32, 576
# Tokens that each of LLaVA-1.5-7B's layers deletes, by the mean over the layers' inputs that is left.
_DELETED = {
    302: [3, 7, 49, 24, 29, 17, 59, 41, 26, 8, 10, 6, 2, 5, 7, 2, 30, 3, 13, 27, 5, 23, 2, 1, 0, 0, 1, 1, 2],
    245: [14, 33, 89, 36, 36, 20, 55, 21, 18, 4, 7, 5, 2, 5, 7, 4, 26, 5, 11, 24, 4, 18, 2, 1, 0, 0, 1, 0, 1],
    188: [48, 79, 118, 41, 33, 17, 36, 9, 9, 2, 3, 2, 1, 3, 4, 8, 18, 7, 8, 20, 4, 13, 2, 1, 0, 0, 1, 0, 1],
    131: [128, 127, 118, 35, 26, 8, 13, 3, 2, 1, 0, 0, 0, 2, 1, 8, 7, 8, 5, 11, 2, 6, 1, 1, 0, 0, 0, 1],
    73: [262, 153, 80, 19, 13, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 1, 2, 0, 1, 0, 0, 0, 0, 0, 1],
}
_ENTERING = {
    name: [1 - gone / _TOKENS for gone in accumulate(deleted + [0] * (_DEPTH - len(deleted)), initial=0)]
    for name, deleted in _DELETED.items()
}


@dataclass(kw_only=True)
class FitPrune(LayerPruner):
    """Before each layer, drop the tokens with the lowest self * cross of the layer before it.

    With its attention, maximum over the heads: self is the mean over the rows of the visual tokens, cross the
    sum over the rows of the text behind the image. The highest stay: a port that keeps the lowest (quoted as
    worse than random) has the sign wrong. Positions stay.

    The released code deletes inside a layer, between attention and MLP, which is the same as before the next
    layer, since all that follows works token by token. How many follows from a calibration set and a share of
    FLOPs; here it follows from the lists published for LLaVA-1.5-7B at 50, 60, 70, 80 and 90% of FLOPs, which
    are means of 302, 245, 188, 131 and 73 over the layers' inputs, and from the budget as in
    :class:`~script_exp.pruners.contract.listed_pruner.ListedPruner`. In LLMs of another depth, the curves are
    stretched. Other models would need their own calibration.
    """

    stages_key: ClassVar[str] = "budget"
    meanings: ClassVar[tuple[str, ...]] = ("average", "after", "published")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget_as == "published":
            check_choice("budget", self.budget, tuple(_DELETED))

    def stage_layers(self, layers: int) -> Sequence[int]:
        return range(1, layers)

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        layers = sum(spans)
        lists = {
            name: [_at(entering, layer * _DEPTH / layers) for layer in range(1, layers)]
            for name, entering in _ENTERING.items()
        }
        return listed_counts(self, lists, tokens, budget, spans)

    def schedule(self, tokens: int, layers: int) -> dict[int, int]:
        """Return the counts of the layers that see fewer tokens than the one before."""
        every = super().schedule(tokens, layers)
        before = dict(zip(every, [tokens, *every.values()], strict=False))
        return {layer: count for layer, count in every.items() if count < before[layer]}

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([_SELF, _CROSS])

    def select(self, state: LayerState, count: int) -> Tensor:
        own, cross = state.signals[_SELF].mean(dim=0), state.signals[_CROSS].sum(dim=0)
        return self.best(own * cross, count)


def _at(curve: Sequence[float], depth: float) -> float:
    """Return a curve's value between two layers."""
    below = int(depth)
    above = min(below + 1, len(curve) - 1)
    return curve[below] + (depth - below) * (curve[above] - curve[below])

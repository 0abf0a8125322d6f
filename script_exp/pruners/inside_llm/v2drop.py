"""V2Drop: at three depths, keep the visual tokens that the layer before has changed most.

Source: "Variation-aware vision token dropping for faster large vision-language models", CVPR 2026,
arXiv 2509.01552.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, States
from script_exp.pruners.contract.listed_pruner import ListedPruner

_BEFORE, _AFTER = States("entering"), States("leaving")


@dataclass(kw_only=True)
class V2Drop(ListedPruner):
    """The score of a token at stage s is ||h^s - h^(s-1)||_2, with the states that enter layers s and s - 1.

    The published lists end with no visual token. Their names are the usual budgets that they stand for; as
    means over the inputs of 32 layers they are 193.4, 130.7 and 66.8. The released code keeps one half, one
    half of these, and at most one token, 202.8.
    """

    stages: Sequence[int | float] = (3 / 32, 17 / 32, 22 / 32)
    fewest: ClassVar[int] = 0
    meanings: ClassVar[tuple[str, ...]] = ("average", "published")
    lists: ClassVar[Mapping[int, Sequence[float]]] = {
        192: (0.5, 0.15, 0.0),
        128: (0.28, 0.07, 0.0),
        64: (0.05, 0.0025, 0.0),
    }

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([_BEFORE, _AFTER])

    def select(self, state: LayerState, count: int) -> Tensor:
        return self.best((state.signals[_AFTER] - state.signals[_BEFORE]).norm(dim=-1), count)

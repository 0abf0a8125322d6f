"""FEATHER: keep what the last prompt token attends to without positions, and a uniform grid.

Source: Endo et al., "Feather the throttle: revisiting visual token pruning for vision-language model
acceleration", ICCV 2025, arXiv 2412.13180.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import SettingError, check_whole
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, Rows
from script_exp.pruners.contract.listed_pruner import ListedPruner
from script_exp.pruners.contract.pruner import top_indices

_ROW = Rows("last", rotary=False)


@dataclass(kw_only=True)
class Feather(ListedPruner):
    """Rank by the layer before the stage, with its norm, q and k, but without rotary embeddings.

    The score is the last prompt token's attention among the visual tokens alone, mean over the heads. At the
    first stage, the tokens in every ``stride``-th row and column of their crop, from the first on, go before
    all others; at the second, the score decides alone. Positions stay.

    The released code unites the best floor(0.3 n) with the grid, about 218 of 576 tokens, and keeps 9% of
    these, about 19. Here the count is given: the grid is taken first and the rest by score. If the count is
    below the grid's, the best of the grid stay.

    Attributes:
        stride: 3 in the released code, 64 of 576 tokens.
    """

    stages: Sequence[int | float] = (8 / 32, 16 / 32)
    stride: int = 3
    needs_grid: ClassVar[bool] = True
    lists: ClassVar[Mapping[int, Sequence[float]]] = {208: (218 / 576, 19 / 576)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("stride", self.stride, lowest=1)

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([_ROW])

    def score(self, attention: Tensor) -> Tensor:
        # A softmax over the visual keys alone. A sliding window may hide all of them, and then all are 0.
        tiny = torch.finfo(attention.dtype).tiny
        return (attention / attention.sum(dim=-1, keepdim=True).clamp(min=tiny)).mean(dim=0)

    def select(self, state: LayerState, count: int) -> Tensor:
        ranked = self.best(self.score(state.signals[_ROW]), len(state.places))
        if state.stage > 0:
            return ranked[:count]
        if state.known.grid is None:
            expected = "a method that needs no grid: this image's tokens form none"
            raise SettingError("pruner", type(self).__name__, expected)
        in_grid = (state.known.grid[state.places] % self.stride == 0).all(dim=-1)[ranked]
        return ranked[top_indices(in_grid, count)]

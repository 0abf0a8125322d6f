"""FrameFusion's stages inside the LLM: merge what is alike over time, then prune by attention.

Source: Fu et al., "FrameFusion: Combining Similarity and Importance for Video Token Reduction on Large Vision
Language Models", ICCV 2025, arXiv 2501.01986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.over_time import change
from script_exp.pruners.contract.layer_signals import LAST_ROW, LayerSignal, LayerState, StageChoice, States
from script_exp.pruners.contract.pruner import check_finite, top_indices
from script_exp.pruners.inside_llm.pyramid import Pyramid

_STATES = States("leaving")
_READ = frozenset[LayerSignal]([LAST_ROW, _STATES])


@dataclass(kw_only=True)
class FrameFusionInside(Pyramid):
    """Merge the pairs that are most alike over time, and prune by attention what is still too many.

    A pair is a token and the next one before it in time, of those that are left, at the same place of their
    frames. Pairs with a cosine of hidden states of at least ``threshold`` are merged, the most alike first,
    no more than have to go; of equal ones, those of the first place. Pairs that follow each other at a place
    form a run, which becomes the mean of its members in the place of the first. Where that leaves too many,
    those with the highest attention of the last prompt token in the layer before stay, mean over the heads
    and over the members of a run. Positions stay.

    The released code merges between a layer's attention and its MLP, and goes on, layer by layer, while a
    tenth of the tokens join; then it prunes once. There counts follow from the video; here they follow from
    the budget, and every stage merges, and prunes what merging leaves too many. It drops before the layer
    behind: for pruning that is the same as inside the layer whose attention ranks, for merging it is not.

    Attributes:
        stages: where tokens go. The released code goes on from the first layer to about the fifth.
        threshold: S, the cosine from which on a pair is merged.
    """

    stages: Sequence[int | float] = (2 / 28,)
    threshold: float = 0.6
    needs_origin: ClassVar[bool] = True
    needs_frames: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, lambda v: -1 <= v <= 1, "a cosine in [-1, 1]")

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return _READ

    def choose(self, state: LayerState, count: int) -> StageChoice:
        row, states = state.signals[LAST_ROW], state.signals[_STATES]
        check_finite(self, "attention or hidden states", [row, states])
        origin = state.origin
        at = origin.image * (origin.place.max() + 2) + origin.place + 1  # equal where tokens may be a pair
        order = (at * (origin.crop.max() + 1) + origin.crop).argsort(stable=True)
        ordered, at, nowhere = states[order], at[order], origin.place[order] < 0
        alike = 1 - change(ordered[1:], ordered[:-1])
        alike[(at[1:] != at[:-1]) | nowhere[1:] | nowhere[:-1]] = -torch.inf
        # Waits for the device: how many pairs are alike enough, and so how many runs there are.
        merged = min(len(states) - count, int((alike >= self.threshold).sum()))
        begins = torch.ones(len(states), dtype=torch.bool, device=states.device)
        begins[1 + top_indices(alike, merged)] = False
        first = top_indices(begins, len(states) - merged)
        means, scores = _means(ordered, first), _means(self.score(row)[order, None], first)[:, 0]
        own, index = order[first].sort()  # ties go to what comes first in the prompt
        best = self.best(scores[index], count)
        return StageChoice(own[best], means[index[best]])


def _means(values: Tensor, first: Tensor) -> Tensor:
    """Return the means (runs, w) of values (m, w) that run from each of ``first`` (runs,) to the next.

    Adds one member of all runs after the other, so that a GPU adds in the same order every time.
    """
    lengths = functional.pad(first, (0, 1), value=len(values)).diff()
    sums = values[first]
    for member in range(1, int(lengths.max())):  # waits for the device, as does each turn: how many go on
        longer = (lengths > member).nonzero()[:, 0]
        sums[longer] += values[first[longer] + member]
    return sums / lengths[:, None]

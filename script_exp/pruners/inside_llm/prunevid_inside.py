"""PruneVid's stage inside the LLM: of every part of the video, what any word attends to most.

Source: Huang et al., "PruneVid: Visual Token Pruning for Efficient Video Large Language Models", findings of
ACL 2025, arXiv 2412.16117, section on selection inside the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.apportion import apportion
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, Rows
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.inside_llm.pyramid import Pyramid

_ROWS = Rows("text", heads="max")


@dataclass(kw_only=True)
class PruneVidInside(Pyramid):
    """Rank by the text's attention in the layer before the stage, and keep the same share of every part.

    The score is the largest entry of a token's column over all heads and all words behind the video. The
    parts are those of the method before the LLM: after
    :class:`~script_exp.pruners.video.prunevid.PruneVid`, the static tokens of each segment and the others of
    each frame; after other methods and alone, the crops of images or the frames of a video. Their counts are
    divided by largest remainders; ties go to the first part. Positions stay.

    The released code keeps 40 % of every part, rounded one by one. It also cuts the caches of the layers
    before the stage to what stays, while decoding; here each layer keeps what it saw.

    Attributes:
        stages: one in the released code, 11 of 32: after layer 10.
    """

    stages: Sequence[int | float] = (11 / 32,)
    needs_origin: ClassVar[bool] = True

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([_ROWS])

    def score(self, attention: Tensor) -> Tensor:
        return attention.amax(dim=0)

    def select(self, state: LayerState, count: int) -> Tensor:
        part = state.origin.part
        ranked = self.best(self.score(state.signals[_ROWS]), len(part))
        sizes = part.bincount()  # waits for the device: how many parts there are
        on_host = sizes.tolist()  # waits again: their shares are divided there
        shares = [size * count / len(part) for size in on_host]
        counts = torch.tensor(apportion(shares, count, on_host), device=part.device)
        grouped = ranked[part[ranked].argsort(stable=True)]  # part by part, the best of each first
        own = part[grouped]
        rank = torch.arange(len(own), device=own.device) - (sizes.cumsum(dim=0) - sizes)[own]
        return grouped[top_indices(rank < counts[own], count)]

"""HiRED: a share of the budget for every part of a picture, then the most attended patches of each.

Source: Arif et al., "HiRED: Attention-Guided Token Dropping for Efficient Inference of High-Resolution
Vision-Language Models", AAAI 2025, arXiv 2408.10945, sections on budget distribution and token dropping.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_choice, check_number
from script_exp.pruners.contract.pruner import Pruner, grid_of, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal, check_layer
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class HiRED(Pruner):
    """Divide the budget among the crops by early attention, and keep what late attention ranks highest.

    The first crop shows the whole picture, the other t are its parts. With a total of K = (1 + t) k tokens:

    1. the first crop gets min(floor(alpha K), n) tokens;
    2. c_s counts how many of its floor((1 - alpha) n) most attended patches, in the tower's first layer, lie
       in the region of part s. Part s gets floor(c_s / sum c * rest) of the rest, at most n;
    3. each crop keeps its patches with the highest attention in the layer that the model reads.

    A picture of one crop keeps its k most attended patches, as FasterVLM does, and so does each frame of a
    video. A tower without a class token uses the attention that each patch receives.

    The released code loses what rounding leaves over and what a crop cannot hold. Here it goes to the parts,
    one token each in the order of c, round by round, and to the first crop if all are full. It also drops the
    separators between rows; here the model's setting ``newline`` decides.

    Attributes:
        alpha: share of the total for the first crop.
        regions: what counts as the region of a part. ``strips``, as released: t contiguous runs of the first
            crop's raster, which are no parts of the picture unless it is cut into rows. ``cells``, as the
            paper means it: the patches that the part shows.
        layer: of the early attention, as in :class:`Signal`; so small a share is the first layer.
    """

    alpha: float = 0.5
    regions: str = "strips"
    layer: int | float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, lambda v: 0 < v < 1, "a share of the total in (0, 1)")
        check_choice("regions", self.regions, ("strips", "cells"))
        check_layer(self.layer)

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY, self._early])

    @property
    def _early(self) -> Signal:
        return Signal("saliency", self.layer)

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        late = visual.signals[SALIENCY]
        if visual.tiles is None:
            return top_indices(late, k)
        crops, n = late.shape
        parts = crops - 1
        first = max(min(int(self.alpha * crops * k), n), crops * k - parts * n)
        rest = crops * k - first
        seen = top_indices(visual.signals[self._early][0], int((1 - self.alpha) * n))
        count = self._region(visual, parts)[seen].bincount(minlength=parts)
        quota = count * rest // count.sum().clamp(min=1)

        # A token's place in its crop, by attention, counted from the end of the quota: those before it are
        # kept, then the first of each crop in the order of the counts, then the second, and so on.
        place = top_indices(late[1:], n).argsort(dim=-1) - quota[:, None]
        turn = top_indices(count, parts).argsort()
        order = torch.where(place < 0, -1, place * parts + turn[:, None]).flatten()
        return torch.cat([top_indices(late[0], first), n + top_indices(-order, rest)])

    def _region(self, visual: VisualTokens, parts: int) -> Tensor:
        """Return the part (n,) whose region each patch of the first crop lies in."""
        patch = torch.arange(visual.projected.shape[1], device=visual.projected.device)
        if self.regions == "strips" or visual.tiles is None:
            return patch * parts // len(patch)
        (rows, columns), (down, across) = grid_of(visual, self), visual.tiles
        return patch // columns * down // rows * across + patch % columns * across // columns

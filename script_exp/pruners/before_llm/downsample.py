"""Downsample: the picture made smaller, a baseline that prunes nothing.

Source: plain down-sampling of the image as in VTC-Bench, arXiv 2510.07143; which size, and how a tower of one
size takes it, are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from script_exp.pruners.arithmetic.cells import centers
from script_exp.pruners.contract.budget import grid_within
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.pruner import Pruner, gather_tokens, grid_of
from script_exp.pruners.contract.signals import Reads
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Downsample(Pruner):
    """Make the picture smaller so that about k tokens come out of each crop, and keep them all.

    A crop of R x C tokens becomes one of h x w with h w <= k (:func:`grid_within`): 13 x 14, 11 x 11, 8 x 8
    and 5 x 6 of 24 x 24 for 192, 128, 64 and 32. Fewer tokens than the budget are kept, never more, so that
    the picture is hardly distorted. The model scales the pixels that its processor made, bilinearly and with
    antialiasing. A tower for crops of one size interpolates its position embeddings, as transformers has it.
    The tower and the projector run on the smaller picture only.

    A token has the place of its cell's center in the whole picture, so that positions can be preserved;
    models whose positions are places in the picture get those of the smaller one.
    """

    @property
    def reads(self) -> Reads:
        return Reads(smaller_to=self.budget)

    def kept_of(self, tokens: int) -> int:
        """Return h w for a square crop, which is known to be one before any image is seen; else at most k."""
        k, side = super().kept_of(tokens), math.isqrt(tokens)
        return math.prod(grid_within(k, (side, side))) if side**2 == tokens else k

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if visual.smaller is None:
            raise ValueError("Downsample needs a smaller picture, which the model was not asked for")
        places = centers(visual.smaller, grid_of(visual, self), visual.projected.device)
        return places.expand(len(visual.projected), -1)

    def __call__(self, visual: VisualTokens, query: Query | None = None) -> Kept:
        """Return all tokens of the smaller picture; their number follows from its shape.

        Raises:
            ValueError: if the model was not asked for a smaller picture.
            SettingError: if the budget is larger than the crop, or its tokens form no grid.
        """
        indices = self.select(visual, query, self.kept_of(visual.projected.shape[1]))
        tokens = gather_tokens(visual.projected, indices)
        return Kept.of_each_crop(indices, tokens, visual.projected.shape[1])

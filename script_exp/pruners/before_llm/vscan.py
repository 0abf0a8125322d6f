"""VScan's vision stage: saliency of the whole image, saliency within windows, and merging.

Source: "VScan", TMLR 2026, arXiv 2505.22654, section on global and local scans.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_whole
from script_exp.pruners.arithmetic.merging import merge_dropped
from script_exp.pruners.contract.pruner import Pruner, grid_of, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal, check_layer
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class VScan(Pruner):
    """Keep half of the tokens by a shallow layer's attention per window, half by the read layer's.

    1. Local: floor(k / 2) tokens by the class token's attention in the shallow ``layer``, an equal number of
       each window of the grid.
    2. Global: of the others, the k - floor(k / 2) with the highest attention in the layer that is read.
    3. Each dropped token joins the kept one whose projected token is nearest by cosine, which becomes the
       plain mean of itself and its guests.

    The released code for LLaVA has 4 x 4 windows of 6 x 6 patches and takes floor(floor(k / 2) / 16) of each,
    so fewer than k unless 32 divides k. Here the rule of its code for Qwen2.5-VL gives exactly k: the tokens
    are passed by descending attention, and each is taken whose window has fewer than ceil(floor(k / 2) /
    windows) yet. Where 32 divides k, the two are the same. If the windows have too few tokens, which needs
    unequal ones, the next tokens are taken. Its second stage, inside the LLM, is not part of this method.
    Where a tower has no class token, the saliency is the attention that a patch receives, as in its code.

    Attributes:
        layer: the shallow layer, as in :class:`Signal`: 0.26 is the published one, the sixth of CLIP
            ViT-L/14-336 and the eighth of Qwen2.5-VL.
        window: side of a window in tokens; rows and columns that are left over belong to the last window. 6
            for LLaVA; the released code for Qwen2.5-VL has 4.
    """

    layer: int | float = 0.26
    window: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layer(self.layer)
        check_whole("window", self.window, 1)

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY, Signal("saliency", self.layer)])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        local = self._local(visual, k // 2)
        saliency = visual.signals[SALIENCY].scatter(1, local, -torch.inf)
        return torch.cat([local, top_indices(saliency, k - k // 2)], dim=1)

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        return merge_dropped(visual.projected, indices)

    def _local(self, visual: VisualTokens, count: int) -> Tensor:
        """Return the indices (crops, count) of the tokens chosen within windows."""
        grid = grid_of(visual, self)
        number, windows = windows_of(grid, self.window, visual.projected.device)
        order = top_indices(visual.signals[Signal("saliency", self.layer)], grid[0] * grid[1])
        own = functional.one_hot(number[order], windows)
        rank = (own.cumsum(dim=1) * own).sum(dim=-1)  # from 1, among the tokens of the same window
        quota = -(-count // windows)
        return order.gather(1, top_indices((rank <= quota).float(), count))


def windows_of(grid: tuple[int, int], side: int, device: torch.device) -> tuple[Tensor, int]:
    """Return the window (n,) of each token of a grid, and the number of windows."""
    rows, columns = (
        (torch.arange(size, device=device) // side).clamp(max=max(1, size // side) - 1) for size in grid
    )
    across = max(1, grid[1] // side)
    return (rows[:, None] * across + columns).flatten(), max(1, grid[0] // side) * across

"""Average pooling over the grid of patches: a baseline that looks at nothing.

Sources: pooling as in UniPruneBench, arXiv 2511.02650, and in LLaVA-NeXT's video models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from script_exp.errors import SettingError, check_choice
from script_exp.pruners.arithmetic.cells import centers
from script_exp.pruners.contract.pruner import Pruner, grid_of
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Pool(Pruner):
    """Cut a crop of R x C tokens into k = h x w bins; the mean of each bin enters the LLM.

    Bin i of the rows holds the rows floor(i R / h) to ceil((i + 1) R / h) - 1, and so for the columns
    (adaptive pooling: neighboring bins share a row where h does not divide R). Of all shapes with h <= R,
    w <= C and h w = k, the one whose ratio h / w is nearest to R / C is taken, the flatter one of two: 24 x
    24 tokens become 12 x 16, 8 x 16, 8 x 8 or 4 x 8. UniPruneBench has 4 x 4 only; the shapes are ours.

    A pooled token has the place of its bin's center, row floor((i + 0.5) R / h) and so for the column, so
    positions can be preserved. A budget without a shape, such as a prime above R and C, is an error. No class
    token is used.

    Attributes:
        space: what is averaged: the ``projected`` tokens, or the ``tower`` features before the projector
            (the projected tokens where a model has no tower features).
    """

    space: str = "projected"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("space", self.space, ("projected", "tower"))

    def kept_of(self, tokens: int) -> int:
        """Return k; a square crop is known to be one before any image is seen, so its shape is checked."""
        k, side = super().kept_of(tokens), math.isqrt(tokens)
        if side**2 == tokens:
            pooled_shape(k, (side, side), self.budget)
        return k

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        grid = grid_of(visual, self)
        crops, device = len(visual.projected), visual.projected.device
        return centers(pooled_shape(k, grid, self.budget), grid, device).expand(crops, k)

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        grid = grid_of(visual, self)
        features = visual.projected if self.space == "projected" else visual.features
        picture = features.float().mT.reshape(len(features), -1, *grid)
        shape = pooled_shape(indices.shape[1], grid, self.budget)
        pooled = functional.adaptive_avg_pool2d(picture, shape).flatten(2).mT
        return pooled.to(visual.projected.dtype) if self.space == "projected" else visual.enter(pooled)


def pooled_shape(k: int, grid: tuple[int, int], budget: int | float) -> tuple[int, int]:
    """Return the shape (h, w) of ``k`` bins of a grid.

    Raises:
        SettingError: if there is none; it names the budget and the nearest counts that have one.
    """
    rows, columns = grid
    shapes = _shapes(k, grid)
    if not shapes:
        below = next(count for count in range(k, 0, -1) if _shapes(count, grid))
        above = next(count for count in range(k, rows * columns + 1) if _shapes(count, grid))
        raise SettingError(
            "budget",
            budget,
            f"rows x columns of pooled tokens, at most {rows} x {columns}; the nearest to {k} are {below} "
            f"and {above}",
        )

    def stretch(shape: tuple[int, int]) -> tuple[float, int]:
        along, across = shape[0] * columns, shape[1] * rows
        return max(along, across) / min(along, across), shape[0]

    return min(shapes, key=stretch)


def _shapes(k: int, grid: tuple[int, int]) -> list[tuple[int, int]]:
    rows, columns = grid
    return [(h, k // h) for h in range(1, rows + 1) if k % h == 0 and k // h <= columns]

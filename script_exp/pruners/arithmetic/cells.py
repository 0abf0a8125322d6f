"""A coarse grid of cells laid over a finer grid of tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def centers(shape: tuple[int, int], grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return the raster places (h w,) of the centers of h x w cells in a grid of R x C tokens.

    Row i of the cells has its center in row floor((i + 1/2) R / h), and so for the columns.
    """
    rows, columns = (
        (2 * torch.arange(cells, device=device) + 1) * size // (2 * cells)
        for cells, size in zip(shape, grid, strict=True)
    )
    return (rows[:, None] * grid[1] + columns).flatten()


def covering(shape: tuple[int, int], grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return for each of R x C raster places (R C,) which of h x w cells covers it, by raster index.

    The center of place i lies in row floor((i + 1/2) h / R) of the cells, and so for the columns. The places
    of :func:`centers` are covered by their own cells.
    """
    rows, columns = (
        (2 * torch.arange(size, device=device) + 1) * cells // (2 * size)
        for cells, size in zip(shape, grid, strict=True)
    )
    return (rows[:, None] * shape[1] + columns).flatten()

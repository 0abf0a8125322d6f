"""Greedy MAP of a DPP in one launch on a GPU: one program per crop runs all k steps.

A loop of torch calls needs a dozen launches per pick, which cost far more than the arithmetic. Here the
residuals stay in registers from the first step to the last. Only the rows of the Cholesky factor go through
memory, and the same multiprocessor finds them in its cache.
"""
# ruff: noqa: ANN001, ANN202 (Triton accepts only its own annotations on a kernel's arguments)

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# The most entries and rows of the factor that a program multiplies at a time; registers have to hold them.
_TILE, _TILE_ROWS = 8192, 32


def greedy_map_triton(kernel: Tensor, k: int, floor: Tensor, fallback: Tensor) -> Tensor:
    """Run :func:`~script_exp.pruners.arithmetic.dpp.greedy_map` in one launch; needs 8 k n bytes per crop.

    Args:
        kernel: (crops, n, n) symmetric and positive semi-definite, float32 or float64.
        k: number of picks, at most n.
        floor, fallback: (crops, n) float64, of :func:`~script_exp.pruners.arithmetic.dpp.exhaustion`.

    Returns:
        (crops, k) indices in pick order.
    """
    crops, n, _ = kernel.shape
    kernel = kernel.contiguous()
    factors = torch.empty(crops, k, n, dtype=torch.float64, device=kernel.device)
    picks = torch.empty(crops, k, dtype=torch.long, device=kernel.device)
    columns = triton.next_power_of_2(n)
    _greedy_map[(crops,)](
        kernel,
        factors,
        picks,
        floor.contiguous(),
        fallback.contiguous(),
        n,
        k,
        COLUMNS=columns,
        ROWS=max(1, min(_TILE // columns, _TILE_ROWS)),
        num_warps=min(32, max(4, columns // 64)),
    )
    return picks


@triton.jit  # type: ignore[untyped-decorator]
def _greedy_map(  # type: ignore[no-untyped-def]
    kernel,
    factors,
    picks,
    floor,
    fallback,
    n,
    k,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Run ``greedy_map_torch`` step by step, in the same order and in float64."""
    crop = tl.program_id(0).to(tl.int64)
    kernel += crop * n * n
    factors += crop * k * n
    picks += crop * k
    column = tl.arange(0, COLUMNS)
    inside = column < n
    residual = tl.load(kernel + column * (n + 1), mask=inside, other=0.0).to(tl.float64)
    low = tl.load(floor + crop * n + column, mask=inside, other=float("inf"))
    last = tl.load(fallback + crop * n + column, mask=inside, other=float("-inf"))
    for step in range(k):
        residual = tl.where(residual > low, residual, last)
        live, best = tl.max(residual, axis=0, return_indices=True, return_indices_tie_break_left=True)
        tl.store(picks + step, best.to(tl.int64))
        product = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
        for start in range(0, step, ROWS):
            row = start + tl.arange(0, ROWS)
            past = row < step
            weight = tl.load(factors + row * n + best, mask=past, other=0.0)
            block = tl.load(
                factors + row[:, None] * n + column[None, :], mask=past[:, None] & inside[None, :], other=0.0
            )
            product += weight[:, None] * block
        scale = tl.where(live > 0, tl.rsqrt(live), 0.0)
        new = tl.load(kernel + best * n + column, mask=inside, other=0.0).to(tl.float64)
        new = (new - tl.sum(product, axis=0)) * scale
        tl.store(factors + step * n + column, new, mask=inside)
        residual = tl.where(column == best, float("-inf"), residual - new * new)
        last = tl.where(column == best, float("-inf"), last)
        tl.debug_barrier()  # the next step's threads read what other threads stored

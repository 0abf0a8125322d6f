"""Greedy MAP inference of a determinantal point process.

Source: Chen, Zhang, Zhou, "Fast greedy MAP inference for determinantal point process to improve
recommendation diversity", NeurIPS 2018, algorithm 1.

A torch operator with three implementations, chosen by torch's dispatcher according to the device: a fused
Triton kernel on CUDA, a numpy loop on the CPU (where torch's overhead per call would dominate), and torch
elsewhere. Because it is an operator, torch's FLOP counter counts it whichever implementation runs.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_Array = np.ndarray[Any, Any]

EXHAUSTED = {torch.float32: 2.0**-16, torch.float64: 2.0**-36}
"""Share of its own diagonal entry at or below which an item's residual is zero, by the kernel's dtype.

The residual over the diagonal entry is the squared distance of the item's unit vector from the span of the
picks. In a float32 kernel, rounding of the entries leaves up to about 100 eps of it (eps = 2^-23); the share
is 128 eps. In a float64 kernel of float32 vectors it leaves less than 1e-12, and the rounding of the vectors
themselves decides: the share is the square of 32 eps.
"""


def dpp_kernel(similarity: Tensor, relevance: Tensor) -> Tensor:
    """Return L = diag(r) S diag(r), (crops, n, n), from S (crops, n, n) and r (crops, n)."""
    return (relevance[:, :, None] * similarity).mul_(relevance[:, None])


def greedy_map(kernel: Tensor, k: int) -> Tensor:
    """Return items in the order in which greedy maximization of log det L_S picks them.

    Each step picks the item with the largest residual d_i^2 = det(L_{S+i}) / det(L_S) and updates all
    residuals with one row of the incremental Cholesky factor: O(n k^2) in total, without computing a
    determinant. Ties go to the lowest index, unless rounding breaks them. An item whose residual is rounding
    noise (``EXHAUSTED``) lies in the span of the picks, so that adding it makes the determinant zero. Once
    all items do (k exceeds the kernel's rank), the DPP has no preference. The remaining picks then follow
    the diagonal (the relevance), highest first.

    All steps are computed in float64. A float32 kernel has too few digits for the last picks before the
    rank; a float64 one of the same float32 vectors has enough.

    Args:
        kernel: (crops, n, n) symmetric and positive semi-definite, float32 or float64.
        k: number of picks, at most n.

    Returns:
        (crops, k) indices in pick order.
    """
    picks: Tensor = torch.ops.script_exp.greedy_map(kernel, k)
    return picks


def exhaustion(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return where items are exhausted and the order that they then have.

    Returns:
        floor: (crops, n) float64; an item is exhausted at or below it.
        fallback: (crops, n) float64 below zero, highest for the largest diagonal entry.

    Raises:
        TypeError: for a kernel of another dtype than float32 and float64.
    """
    if kernel.dtype not in EXHAUSTED:
        raise TypeError(f"the kernel is {kernel.dtype}; expected torch.float32 or torch.float64")
    diagonal = kernel.diagonal(dim1=1, dim2=2)
    usable = diagonal >= torch.finfo(kernel.dtype).tiny  # subnormal numbers have too few digits
    floor = torch.where(usable, EXHAUSTED[kernel.dtype] * diagonal.double(), torch.inf)
    order = diagonal.argsort(dim=-1, descending=True, stable=True)
    return floor, -1.0 - order.argsort(dim=-1).double()


def greedy_map_torch(kernel: Tensor, k: int) -> Tensor:
    """Run :func:`greedy_map` on any device, for all crops at once, without synchronization."""
    crops, n, _ = kernel.shape
    residual = kernel.diagonal(dim1=1, dim2=2).double()
    floor, fallback = exhaustion(kernel)
    rows = torch.arange(crops, device=kernel.device)
    factors = torch.empty(crops, k, n, dtype=torch.float64, device=kernel.device)
    picks = torch.empty(crops, k, dtype=torch.long, device=kernel.device)
    for step in range(k):
        residual = torch.where(residual > floor, residual, fallback)
        best = residual.argmax(dim=-1)
        picks[:, step] = best
        live = residual[rows, best, None]
        scale = torch.where(live > 0, live.rsqrt(), 0.0)
        past = factors[:, :step]
        line = kernel[rows, best, None].double()
        row = torch.baddbmm(line, past[rows, :, best, None].mT, past, alpha=-1)[:, 0]
        factors[:, step] = row * scale
        residual = residual - factors[:, step].square()
        residual[rows, best] = -torch.inf
        fallback[rows, best] = -torch.inf
    return picks


def greedy_map_numpy(kernel: Tensor, k: int) -> Tensor:
    """Run :func:`greedy_map` on the CPU."""
    kernel = kernel.detach()
    floor, fallback = (one.numpy() for one in exhaustion(kernel))
    matrices = kernel.numpy()
    picks, counts = (_steps_of_one if len(matrices) == 1 else _steps)(matrices, k, floor)
    for crop in np.flatnonzero(counts < k):
        kept = picks[: counts[crop], crop]
        order = np.argsort(-fallback[crop])
        picks[len(kept) :, crop] = order[~np.isin(order, kept)][: k - len(kept)]
    return torch.from_numpy(picks.T.copy())


def _steps(matrices: _Array, k: int, floor: _Array) -> tuple[_Array, _Array]:
    """Return the picks (k, crops) of several crops, and in how many steps each crop was not exhausted."""
    crops, n, _ = matrices.shape
    rows = matrices.reshape(crops * n, n)
    first_row = np.arange(crops) * n
    residual = matrices.diagonal(axis1=1, axis2=2).astype(np.float64)
    factors = np.empty((k, crops, n))
    product = np.empty((crops, n))
    picks, counts = np.zeros((k, crops), np.int64), np.zeros(crops, np.int64)
    flat_residual, flat_factors = residual.reshape(-1), factors.reshape(k, crops * n)
    for step in range(k):
        np.copyto(residual, -np.inf, where=residual <= floor)
        best = residual.argmax(axis=1)
        picks[step] = best
        best += first_row
        live = flat_residual.take(best)
        alive = live > 0
        counts += alive
        new = factors[step]
        past = flat_factors[:step].take(best, axis=1)
        np.matmul(past.T[:, None], factors[:step].transpose(1, 0, 2), out=product[:, None])
        np.subtract(rows.take(best, axis=0), product, out=new)
        new *= np.power(live, -0.5, out=np.zeros(crops), where=alive)[:, None]
        residual -= np.square(new, out=product)
        flat_residual[best] = -np.inf
    return picks, counts


def _steps_of_one(matrices: _Array, k: int, floor: _Array) -> tuple[_Array, _Array]:
    """Run :func:`_steps` for a single crop on plain vectors, in half the time."""
    (matrix,), (low,) = matrices, floor
    residual = matrix.diagonal().astype(np.float64)
    factors = np.empty((k, len(matrix)))
    product = np.empty_like(residual)
    picks = np.zeros((k, 1), np.int64)
    for step in range(k):
        best = residual.argmax()
        while residual[best] <= low[best]:
            if residual[best] == -np.inf:
                return picks, np.array([step])
            residual[best] = -np.inf
            best = residual.argmax()
        picks[step] = best
        past, new = factors[:step], factors[step]
        np.dot(past[:, best], past, out=product)
        np.subtract(matrix[best], product, out=new)
        new *= residual[best] ** -0.5
        residual -= np.square(new, out=product)
        residual[best] = -np.inf
    return picks, np.array([k])


def _greedy_map_triton(kernel: Tensor, k: int) -> Tensor:
    from script_exp.pruners.arithmetic.dpp_triton import greedy_map_triton  # compiles on first use

    return greedy_map_triton(kernel, k, *exhaustion(kernel))


_NAME = "script_exp::greedy_map"
torch.library.define(_NAME, "(Tensor kernel, int k) -> Tensor")
torch.library.impl(_NAME, "default", greedy_map_torch)
torch.library.impl(_NAME, "cpu", greedy_map_numpy)
if importlib.util.find_spec("triton") is not None:
    torch.library.impl(_NAME, "cuda", _greedy_map_triton)


@torch.library.register_fake(_NAME)  # type: ignore[untyped-decorator]
def _shape(kernel: Tensor, k: int) -> Tensor:
    return kernel.new_empty((kernel.shape[0], k), dtype=torch.long)


@register_flop_formula(torch.ops.script_exp.greedy_map)
def _operations(kernel_shape: torch.Size, k: int, *args: Any, **kwargs: Any) -> int:
    """Step s multiplies (crops, 1, s) by (crops, s, n)."""
    crops, n, _ = kernel_shape
    return int(crops * n * k * (k - 1))

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

# A residual below this share of the largest diagonal entry is rounding noise of the float32 updates.
EXHAUSTED = 1e-5


def dpp_kernel(similarity: Tensor, relevance: Tensor) -> Tensor:
    """Return L = diag(r) S diag(r), (crops, n, n), from S (crops, n, n) and r (crops, n)."""
    return (relevance[:, :, None] * similarity).mul_(relevance[:, None])


def greedy_map(kernel: Tensor, k: int) -> Tensor:
    """Return items in the order in which greedy maximization of log det L_S picks them.

    Each step picks the item with the largest residual d_i^2 = det(L_{S+i}) / det(L_S) and updates all
    residuals with one row of the incremental Cholesky factor: O(n k^2) in total, without computing a
    determinant. Ties go to the lowest index. Once every residual is zero (k exceeds the kernel's rank), the
    determinant is zero for any further item, so the DPP has no preference. The remaining picks then follow
    the diagonal (the relevance), highest first.

    Args:
        kernel: (crops, n, n) symmetric and positive semi-definite.
        k: number of picks, at most n.

    Returns:
        (crops, k) indices in pick order.
    """
    picks: Tensor = torch.ops.script_exp.greedy_map(kernel, k)
    return picks


def greedy_map_torch(kernel: Tensor, k: int) -> Tensor:
    """Run :func:`greedy_map` on any device, for all crops at once, without synchronization."""
    crops, n, _ = kernel.shape
    residual = kernel.diagonal(dim1=1, dim2=2).clone()
    largest = residual.amax(dim=-1, keepdim=True)
    exhausted = EXHAUSTED * largest
    # Replaces an exhausted residual: below every live one, in the order of the diagonal.
    preference = exhausted * (residual / largest.clamp(min=torch.finfo(residual.dtype).tiny) - 1)
    rows = torch.arange(crops, device=kernel.device)
    factors = torch.empty(crops, k, n, dtype=kernel.dtype, device=kernel.device)
    picks = torch.empty(crops, k, dtype=torch.long, device=kernel.device)
    for step in range(k):
        residual = torch.where(residual > exhausted, residual, preference)
        best = residual.argmax(dim=-1)
        picks[:, step] = best
        live = residual[rows, best, None]
        scale = torch.where(live > exhausted, live.rsqrt(), 0.0)
        past = factors[:, :step]
        row = torch.baddbmm(kernel[rows, best, None], past[rows, :, best, None].mT, past, alpha=-1)[:, 0]
        factors[:, step] = row * scale
        residual = residual - factors[:, step].square()
        residual[rows, best] = -torch.inf
        preference[rows, best] = -torch.inf
    return picks


def greedy_map_numpy(kernel: Tensor, k: int) -> Tensor:
    """Run :func:`greedy_map` on the CPU."""
    matrices = kernel.detach().numpy()
    diagonal = matrices.diagonal(axis1=1, axis2=2)
    with np.errstate(divide="ignore", invalid="ignore"):  # exhausted residuals, whose picks are replaced
        picks, live = (_steps_of_one if len(matrices) == 1 else _steps)(matrices, k)
    alive = np.logical_and.accumulate(live > EXHAUSTED * diagonal.max(axis=1), axis=0)
    for crop in np.flatnonzero(~alive[-1]):
        kept = picks[: alive[:, crop].sum(), crop]
        order = np.argsort(-diagonal[crop], kind="stable")
        picks[len(kept) :, crop] = order[~np.isin(order, kept)][: k - len(kept)]
    return torch.from_numpy(picks.T.copy())


def _steps(matrices: _Array, k: int) -> tuple[_Array, _Array]:
    """Return the picks and their residuals, (k, crops) each, of several crops at once."""
    crops, n, _ = matrices.shape
    rows = matrices.reshape(crops * n, n)
    first_row = np.arange(crops) * n
    residual = matrices.diagonal(axis1=1, axis2=2).copy()
    factors = np.empty((k, crops, n), matrices.dtype)
    product = np.empty((crops, n), matrices.dtype)
    picks, live = np.empty((k, crops), np.int64), np.empty((k, crops), matrices.dtype)
    flat_residual, flat_factors = residual.reshape(-1), factors.reshape(k, crops * n)
    for step in range(k):
        best = residual.argmax(axis=1)
        picks[step] = best
        best += first_row
        live[step] = flat_residual.take(best)
        new = rows.take(best, axis=0, out=factors[step], mode="clip")
        past = flat_factors[:step].take(best, axis=1)
        np.matmul(past.T[:, None], factors[:step].transpose(1, 0, 2), out=product[:, None])
        new -= product
        new *= (live[step] ** -0.5)[:, None]
        residual -= np.square(new, out=product)
        flat_residual[best] = -np.inf
    return picks, live


def _steps_of_one(matrices: _Array, k: int) -> tuple[_Array, _Array]:
    """Run :func:`_steps` for a single crop on plain vectors, in half the time."""
    (matrix,) = matrices
    residual = matrix.diagonal().copy()
    factors = np.empty((k, len(matrix)), matrix.dtype)
    product = np.empty_like(residual)
    picks, live = np.empty((k, 1), np.int64), np.empty((k, 1), matrix.dtype)
    for step in range(k):
        best = residual.argmax()
        picks[step], live[step] = best, residual[best]
        past, new = factors[:step], factors[step]
        np.dot(past[:, best], past, out=product)
        np.subtract(matrix[best], product, out=new)
        new *= residual[best] ** -0.5
        residual -= np.square(new, out=product)
        residual[best] = -np.inf
    return picks, live


def _greedy_map_triton(kernel: Tensor, k: int) -> Tensor:
    from script_exp.pruners.arithmetic.dpp_triton import greedy_map_triton  # compiles on first use

    return greedy_map_triton(kernel, k, EXHAUSTED)


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

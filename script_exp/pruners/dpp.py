"""Greedy MAP inference of a determinantal point process.

Source: Chen, Zhang, Zhou, "Fast greedy MAP inference for determinantal point process to improve
recommendation diversity", NeurIPS 2018, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A residual below this share of the largest diagonal entry is rounding noise of the float32 updates.
_EXHAUSTED = 1e-5


def greedy_map(kernel: Tensor, k: int) -> Tensor:
    """Items in the order in which greedy maximization of log det L_S picks them.

    Each step picks the item with the largest residual d_i^2 = det(L_{S+i}) / det(L_S) and updates all
    residuals by one row of the incremental Cholesky factor: O(n k^2) in all, no determinant is ever
    computed. Ties go to the lowest index. Once every residual is zero (k above the kernel's rank) the
    determinant is zero whatever is added and the DPP has no preference left; the remaining picks then follow
    the diagonal (the relevance), highest first.

    Args:
        kernel: (crops, n, n) symmetric and positive semi-definite.
        k: number of picks, at most n.

    Returns:
        (crops, k) indices in the order of picking.
    """
    crops, n, _ = kernel.shape
    residual = kernel.diagonal(dim1=1, dim2=2).clone()
    largest = residual.amax(dim=-1, keepdim=True)
    exhausted = _EXHAUSTED * largest
    # Stands in for an exhausted residual: below every live one, in the order of the diagonal.
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

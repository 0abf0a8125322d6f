"""Greedy max-min picks, also called farthest-point sampling."""

from __future__ import annotations

import torch
from torch import Tensor


def max_min(distance: Tensor, first: Tensor, k: int) -> Tensor:
    """Return tokens in the order in which each is the farthest from those picked before it.

    After the first pick, each step picks argmax_i min_{j picked} D_ij. Ties go to the lowest index, and no
    token is picked twice.

    Args:
        distance: (crops, n, n) symmetric.
        first: (crops,) index of the first pick.
        k: number of picks, at most n.

    Returns:
        (crops, k) indices in pick order.
    """
    crops, n, _ = distance.shape
    rows = torch.arange(crops, device=distance.device)
    nearest = distance.new_full((crops, n), torch.inf)
    picks = torch.empty(crops, k, dtype=torch.long, device=distance.device)
    best = first
    for step in range(k):
        picks[:, step] = best
        nearest = torch.minimum(nearest, distance[rows, best])
        nearest[rows, best] = -torch.inf
        best = nearest.argmax(dim=-1)
    return picks

"""Greedy maximization of coverage, the facility-location function."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_coverage(
    similarity: Tensor, k: int, weights: Tensor | None = None, last: Tensor | None = None
) -> Tensor:
    """Return tokens in the order in which each adds most to what the picks cover.

    Row i (a token, a word) is covered as well as its best pick resembles it: c_i = max_{j picked} C_ij, at
    least 0. Each step picks the token with the largest weighted gain, w_j sum_i max(0, C_ij - c_i). Ties go
    to the lowest index, and no token is picked twice.

    Args:
        similarity: (crops, rows, n) C, how well token j covers row i.
        k: number of picks, at most n.
        weights: (crops, n) w, at least 0; None weighs all tokens alike.
        last: (n,) true for tokens that are picked only where no others are left, from the lowest index on.

    Returns:
        (crops, k) indices in pick order.
    """
    crops, _, n = similarity.shape
    each = torch.arange(crops, device=similarity.device)
    covering = similarity.mT.contiguous()  # each token's rows lie together
    covered = covering.new_zeros(crops, 1, covering.shape[-1])
    taken = covering.new_zeros(crops, n)
    if last is not None:
        taken[:, last] = torch.finfo(taken.dtype).min
    picks = torch.empty(crops, k, dtype=torch.long, device=similarity.device)
    gains = torch.empty_like(covering)
    for step in range(k):
        gain = torch.sub(covering, covered, out=gains).clamp_(min=0).sum(dim=-1)
        best = (gain if weights is None else weights * gain).add(taken).argmax(dim=-1)
        picks[:, step] = best
        taken[each, best] = -torch.inf
        covered = torch.maximum(covered, covering[each, best, None])
    return picks

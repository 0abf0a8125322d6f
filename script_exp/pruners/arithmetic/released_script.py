"""What the versions of the released Script code compute on the way: graph score, loop and intersection.

Source: the public repository of Script (arXiv 2512.01949), its behavior as read from the commits that
``before_llm/script_released.py`` names.
"""

from __future__ import annotations

import torch
from torch import Tensor

from script_exp.pruners.contract.pruner import top_indices

_THRESHOLD, _MIN_DEGREE, _GAMMA = 0.2, 4, 1.0


def released_redundancy(similarity: Tensor) -> Tensor:
    """Return the released graph score (crops, n) over all pairs (crops, n, n), self-pairs included.

    Tokens of low degree get the released code's guard.
    """
    edges = similarity >= _THRESHOLD
    degree = edges.sum(dim=-1)
    mean = (similarity * edges).sum(dim=-1) / degree.clamp(min=1)
    score = degree * torch.exp(_GAMMA * (mean - _THRESHOLD))
    return torch.where(degree >= _MIN_DEGREE, score, 0.5 * score + 0.5 * similarity.mean(dim=-1))


def released_loop(kernel: Tensor, k: int) -> Tensor:
    """Return the "DPP" picks (crops, k) of the last released version, in order.

    The projection on earlier picks is multiplied by K / -inf = 0, so the update is d_i -= K_ij^2 / d_j with
    d_j the *residual* of pick j. This subtracts too much. Once the best residual is <= 0, updates stop, and
    the budget is filled by the frozen residuals closest to zero, those of the least relevant tokens.
    """
    crops = kernel.shape[0]
    rows = torch.arange(crops, device=kernel.device)
    residual = kernel.diagonal(dim1=1, dim2=2).clone()
    picks = torch.empty(crops, k, dtype=torch.long, device=kernel.device)
    for step in range(k):
        best = residual.argmax(dim=-1)
        picks[:, step] = best
        live = residual[rows, best]
        scale = torch.where(live > 0, 1 / live, 0.0)
        residual = residual - kernel[rows, best].square() * scale[:, None]
        residual[rows, best] = -torch.inf
    return picks


def intersect(first: Tensor, second: Tensor, relevance: Tensor, pad_from: Tensor | None) -> Tensor:
    """Return the intersection of two sets (crops, k), padded to k by relevance.

    The padding comes from the set ``pad_from`` (crops, m), or from all tokens if that is None.
    """

    def mask(indices: Tensor) -> Tensor:
        return torch.zeros_like(relevance, dtype=torch.bool).scatter_(1, indices, True)

    common = mask(first) & mask(second)
    candidates = torch.ones_like(common) if pad_from is None else mask(pad_from)
    by_relevance = top_indices(relevance, relevance.shape[1])
    rank = (2 * common + candidates).gather(
        1, by_relevance
    )  # 3 in both sets, 1 in the padding's, 0 elsewhere
    return by_relevance.gather(1, top_indices(rank, second.shape[1]))

"""Reference loops to compare ours with, written from descriptions of the released code, not copied."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.pruners.before_llm.query import QueryDPP
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


def straightforward_map(kernel: Tensor, k: int) -> Tensor:
    """Return the picks of greedy MAP (crops, k), as method repositories compute them.

    It takes one einsum over the growing cache and one argmax per step.
    """
    crops, n, _ = kernel.shape
    rows = torch.arange(crops, device=kernel.device)
    cache = torch.zeros(k, crops, n, dtype=kernel.dtype, device=kernel.device)
    gains = kernel.diagonal(dim1=1, dim2=2).clone()
    picks = torch.empty(k, crops, dtype=torch.long, device=kernel.device)
    for step in range(k):
        best = gains.argmax(dim=-1)
        picks[step] = best
        past = torch.einsum("tc,tcn->cn", cache[:step, rows, best], cache[:step])
        row = (kernel[rows, best] - past) / gains[rows, best].sqrt()[:, None]
        cache[step] = row
        gains -= row.square()
        gains[rows, best] = -torch.inf
    return picks.T


def straightforward_query(visual: VisualTokens, query: Query, k: int) -> Tensor:
    """Return the query module's tokens (crops, k), ascending, by :func:`straightforward_map`."""
    relevance = QueryDPP().relevance(visual, query)
    unit = functional.normalize(visual.projected, dim=-1)
    kernel = relevance[:, :, None] * (unit @ unit.mT) * relevance[:, None, :]
    return straightforward_map(kernel, k).sort(dim=-1).values


def released_loop(kernel: Tensor, k: int) -> Tensor:
    """Return the picks (crops, k) of the last released Script code, computed as it does.

    It is a Python loop over steps and crops that waits for the device several times in each. An inner loop
    runs over all earlier picks, whose coefficients are zero because it divides by their residuals of -inf.
    This is not greedy MAP; ``script_exp/pruners/arithmetic/released_script.py`` says what it does instead.
    """
    crops, n, _ = kernel.shape
    residual = kernel.diagonal(dim1=1, dim2=2).clone()
    taken = torch.zeros(crops, n, dtype=torch.bool, device=kernel.device)
    chosen: list[list[int]] = [[] for _ in range(crops)]
    for _ in range(k):
        for crop in range(crops):
            best = int(residual[crop].masked_fill(taken[crop], -torch.inf).argmax())
            taken[crop, best] = True
            live = residual[crop, best].clone()
            residual[crop, best] = -torch.inf
            if live > 0:
                row = kernel[crop, best].clone()
                for earlier in chosen[crop]:
                    row -= (
                        kernel[crop, best, earlier] / (residual[crop, earlier] + 1e-6) * kernel[crop, earlier]
                    )
                residual[crop] -= row.square() / live
            chosen[crop].append(best)
    return torch.tensor(chosen, device=kernel.device)

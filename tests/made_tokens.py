"""Visual tokens in clusters, as image patches are, with what methods read of the vision tower."""

from __future__ import annotations

import torch

from script_exp.pruners import VisualTokens
from script_exp.pruners.contract.signals import SALIENCY


def made_tokens(n, crops=2, seed=0, width=40, tower=16, signals=(SALIENCY,), grid=None):
    """Tokens with mean cosines of about 0.4; attention sums to less than 1 in every crop."""
    generator = torch.Generator().manual_seed(seed)

    def clusters(dimensions):
        centers = torch.randn(7, dimensions, generator=generator)[torch.randint(7, (n,), generator=generator)]
        return 0.6 + centers + 0.6 * torch.randn(crops, n, dimensions, generator=generator)

    attention = {
        signal: torch.randn(crops, n + 1, generator=generator).mul(2).softmax(dim=-1)[:, 1:]
        for signal in signals
    }
    return VisualTokens(clusters(width), tower=clusters(tower), signals=attention, grid=grid)

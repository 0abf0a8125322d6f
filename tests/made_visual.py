"""Random visual tokens with all that merging methods read, and a projector that changes them."""

from __future__ import annotations

import torch

from script_exp.pruners import VisualTokens
from script_exp.pruners.contract.signals import Signal

SIGNALS = [
    Signal("saliency"), Signal("saliency", -2), Signal("keys"), Signal("class_token"),
    Signal("flat_saliency", 1), Signal("flat_keys", 1),
]  # fmt: skip


def made(grid=(6, 6), crops=2, seed=0, dtype=torch.float32, key="sample"):
    """Return tokens whose features differ in norm and are similar in groups."""
    generator = torch.Generator().manual_seed(seed)
    n = grid[0] * grid[1]
    centers = torch.randn(5, 7, generator=generator)
    near = centers[torch.randint(5, (crops, n), generator=generator)]
    tower = (near + 0.7 * torch.randn(crops, n, 7, generator=generator)).to(dtype)
    projector = torch.nn.Linear(7, 9).requires_grad_(False)
    projector.weight.normal_(generator=generator)
    projector.bias.normal_(generator=generator)
    projector.to(dtype)
    signals = {}
    for signal in SIGNALS:
        if signal.kind == "class_token":
            signals[signal] = torch.randn(crops, 7, generator=generator).to(dtype)
        elif signal.kind.endswith("keys"):
            signals[signal] = torch.randn(crops, n, 4, generator=generator)
        else:
            signals[signal] = torch.randn(crops, n, generator=generator).mul(2).softmax(dim=-1)
    return VisualTokens(projector(tower), None, tower, projector, key, signals, grid)


def cosine(one, other):
    """The cosine of two vectors in double precision."""
    one, other = one.double(), other.double()
    return float(one @ other / (one.norm() * other.norm()))

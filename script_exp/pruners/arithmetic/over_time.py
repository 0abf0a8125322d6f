"""What methods compare between the frames of a video."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def change(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 - cos of tokens (..., d) and others at the same places (..., d): (...).

    It is half the squared distance of the unit vectors, which is exactly 0 where both are the same.
    """
    difference = functional.normalize(one, dim=-1) - functional.normalize(other, dim=-1)
    return difference.square().sum(dim=-1) / 2


def likeness(tokens: Tensor) -> Tensor:
    """Return (T - 1, ...) cosines of tokens (T, ..., d) with those at the same places one frame before."""
    return 1 - change(tokens[1:], tokens[:-1])

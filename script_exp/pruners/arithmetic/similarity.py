"""The similarity of visual tokens, and the scaling of scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cosines(tokens: Tensor) -> Tensor:
    """Return the cosine similarities S, (crops, n, n), of tokens (crops, n, d)."""
    unit = functional.normalize(tokens, dim=-1)
    return unit @ unit.mT


def min_max(values: Tensor, over: str = "crop", offset: float = 0.0) -> Tensor:
    """Scale (crops, n) to [0, 1] within each ``crop`` or the whole ``image``; constant values become 1.

    ``offset`` is added to the numerator, so that the smallest value becomes offset / (max - min).
    """
    dims = (-1,) if over == "crop" else (0, 1)
    low, high = values.amin(dim=dims, keepdim=True), values.amax(dim=dims, keepdim=True)
    span = high - low
    return ((values - low + offset) / span.masked_fill(span == 0, 1)).masked_fill(span == 0, 1)

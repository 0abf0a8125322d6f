"""Greedy suppression, as non-maximum suppression of boxes does it, for all tokens at once."""

from __future__ import annotations

import torch
from torch import Tensor


def unsuppressed(suppresses: Tensor) -> Tensor:
    """Return which tokens remain, (crops, n), if the best remains and suppresses others, and so on.

    Args:
        suppresses: (crops, n, n), whether the token of the column, if it remains, suppresses that of the row;
            never the better of the two.
    """
    remains = suppresses.new_ones(suppresses.shape[:2])
    while True:  # each turn settles the tokens whose suppressors were settled before
        before, remains = remains, ~(suppresses & remains[:, None]).any(dim=-1)
        if torch.equal(before, remains):
            return remains

"""Suppression of all tokens at once, against one token after the other."""

from __future__ import annotations

import pytest
import torch

from script_exp.pruners.arithmetic.suppression import unsuppressed


def slow_remaining(suppresses, order):
    remaining = []
    for token in order:  # the best first
        if not any(suppresses[token][better] for better in remaining):
            remaining.append(token)
    return sorted(remaining)


@pytest.mark.parametrize("n", [1, 2, 15, 60])
@pytest.mark.parametrize("density", [0.0, 0.03, 0.3, 1.0])
def test_equals_one_after_the_other(n, density):
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(n, generator=generator)
        place = order.argsort()
        dense = torch.rand(2, n, n, generator=generator) < density
        suppresses = dense & (place[None, None] < place[None, :, None])
        remains = unsuppressed(suppresses)
        for crop in range(2):
            wanted = slow_remaining(suppresses[crop].tolist(), order.tolist())
            assert remains[crop].nonzero().flatten().tolist() == wanted


def test_the_suppressed_suppress_no_one():
    """A row of ten in which each suppresses the next: every second one remains."""
    chain = torch.zeros(1, 10, 10, dtype=torch.bool)
    chain[0, range(1, 10), range(9)] = True
    assert unsuppressed(chain)[0].nonzero().flatten().tolist() == [0, 2, 4, 6, 8]

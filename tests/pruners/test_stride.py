"""Stride keeps the centers of equal parts of the raster."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from script_exp.pruners import Stride, VisualTokens


@pytest.mark.parametrize("n", [2, 9, 576])
def test_equals_exact_fractions_at_every_budget(n):
    visual = VisualTokens(torch.randn(2, n, 3))
    for k in range(1, n):
        wanted = [math.floor((j + Fraction(1, 2)) * n / k) for j in range(k)]
        assert Stride(budget=k)(visual).indices.tolist() == [wanted] * 2


def test_a_third_is_the_middle_of_three():
    assert Stride(budget=3)(VisualTokens(torch.randn(1, 9, 3))).indices.tolist() == [[1, 4, 7]]

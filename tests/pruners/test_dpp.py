"""Greedy MAP, against an independent greedy search that computes every determinant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from script_exp.pruners.arithmetic.dpp import greedy_map, greedy_map_numpy, greedy_map_torch

IMPLEMENTATIONS = pytest.mark.parametrize("greedy_map", [greedy_map_torch, greedy_map_numpy])


def slow_greedy(kernel, k):
    """Picks by the largest log det of the enlarged submatrix, in float64, one determinant per candidate."""
    kernel = kernel.double().numpy()
    picks = []
    for _ in range(k):
        gains = np.full(len(kernel), -np.inf)
        for item in range(len(kernel)):
            if item not in picks:
                chosen = [*picks, item]
                sign, value = np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])
                gains[item] = value if sign > 0 else -np.inf
        picks.append(int(gains.argmax()))
    return picks


def random_kernel(crops, n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(crops, n, width, generator=generator), dim=-1)
    relevance = torch.rand(crops, n, generator=generator)
    return relevance[:, :, None] * (vectors @ vectors.mT) * relevance[:, None, :]


@IMPLEMENTATIONS
@pytest.mark.parametrize(("n", "width", "k"), [(12, 30, 12), (40, 64, 20), (64, 80, 31), (90, 16, 12)])
def test_equals_the_slow_greedy(greedy_map, n, width, k):
    for seed in range(4):
        kernel = random_kernel(3, n, width, seed)
        picks = greedy_map(kernel, k)
        assert [row.tolist() for row in picks] == [slow_greedy(one, k) for one in kernel]


@IMPLEMENTATIONS
def test_prefixes_are_the_smaller_budgets(greedy_map):
    kernel = random_kernel(2, 50, 60, 1)
    assert torch.equal(greedy_map(kernel, 40)[:, :7], greedy_map(kernel, 7))


@IMPLEMENTATIONS
def test_above_the_rank_the_rest_follows_the_diagonal(greedy_map):
    kernel = random_kernel(1, 40, 6, 3)
    picks = greedy_map(kernel, 40)[0]
    assert sorted(picks.tolist()) == list(range(40))
    rest = kernel[0].diagonal()[picks[6:]]
    assert (rest.diff() <= 0).all()


@IMPLEMENTATIONS
@pytest.mark.parametrize("seed", range(4))
def test_above_the_rank_of_clustered_tokens(greedy_map, seed):
    """576 tokens in clusters, 128 wide: float32 noise must not count as a residual."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(20, 128, generator=generator)
    tokens = centers[torch.arange(576) % 20] + 0.3 * torch.randn(576, 128, generator=generator)
    unit = torch.nn.functional.normalize(tokens, dim=-1)
    relevance = torch.rand(576, generator=generator)
    kernel = (relevance[:, None] * (unit @ unit.T) * relevance[None])[None]
    picks = greedy_map(kernel, 200)[0]
    rest = kernel[0].diagonal()[picks[128:]]
    assert (rest.diff() <= 0).all()


@IMPLEMENTATIONS
def test_duplicates_are_picked_last(greedy_map):
    vectors = torch.eye(4).repeat_interleave(2, dim=0)
    picks = greedy_map((vectors @ vectors.T)[None], 8)[0].tolist()
    assert picks == [0, 2, 4, 6, 1, 3, 5, 7]


@IMPLEMENTATIONS
def test_a_zero_kernel_gives_the_lowest_indices(greedy_map):
    assert greedy_map(torch.zeros(1, 5, 5), 3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("crops", "n", "width", "k"), [(5, 576, 128, 64), (2, 576, 40, 192), (1, 7, 9, 7)])
def test_implementations_agree(crops, n, width, k):
    kernel = random_kernel(crops, n, width, n)
    assert torch.equal(greedy_map_numpy(kernel, k), greedy_map_torch(kernel, k))
    assert torch.equal(greedy_map(kernel.mT, k), greedy_map_numpy(kernel, k))  # strides do not matter


def test_the_operations_are_counted_whichever_implementation_runs():
    kernel = random_kernel(3, 50, 60, 0)
    counts = []
    for implementation in (greedy_map, greedy_map_torch):
        with FlopCounterMode(display=False) as counter:
            implementation(kernel, 20)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    assert torch.ops.script_exp.greedy_map(kernel.to("meta"), 20).shape == (3, 20)

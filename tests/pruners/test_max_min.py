"""Max-min picks, against a loop over all tokens and picks."""

from __future__ import annotations

import pytest
import torch

from script_exp.pruners.arithmetic.max_min import max_min


def slow_picks(distance, first, k):
    picks = [first]
    while len(picks) < k:
        rest = [i for i in range(len(distance)) if i not in picks]
        nearest = [min(distance[i][j] for j in picks) for i in rest]
        picks.append(rest[nearest.index(max(nearest))])
    return picks


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 2), (9, 4), (30, 30), (60, 17)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(n, k, seed):
    points = torch.randn(3, n, 5, generator=torch.Generator().manual_seed(seed))
    distance = torch.cdist(points, points)
    first = torch.tensor([0, n // 2, n - 1])
    picks = max_min(distance, first, k)
    assert picks.tolist() == [slow_picks(distance[c].tolist(), first[c].item(), k) for c in range(3)]


def test_the_radius_is_at_most_twice_the_best():
    """Gonzalez' guarantee for the farthest-point rule, against all sets of three among ten points."""
    for seed in range(5):
        points = torch.randn(1, 10, 2, generator=torch.Generator().manual_seed(seed))
        distance = torch.cdist(points, points)[0]
        sets = torch.combinations(torch.arange(10), 3)
        best = distance[sets].amin(dim=1).amax(dim=1).min()
        picks = max_min(distance[None], torch.tensor([4]), 3)[0]
        assert distance[picks].amin(dim=0).max() <= 2 * best


def test_ties_go_to_the_lowest_index_and_nothing_is_picked_twice():
    assert max_min(torch.zeros(1, 6, 6), torch.tensor([3]), 6).tolist() == [[3, 0, 1, 2, 4, 5]]

"""Greedy coverage, against the objective itself computed for every candidate."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from script_exp.pruners.arithmetic.coverage import greedy_coverage
from script_exp.pruners.arithmetic.similarity import cosines


def covered(similarity, picks):
    """The facility-location function: how well each row is covered by its best pick, never below 0."""
    return sum(max([0.0, *(row[j] for j in picks)]) for row in similarity)


def slow_picks(similarity, weights, k, last=()):
    picks = []
    while len(picks) < k:
        rest = [j for j in range(len(similarity[0])) if j not in picks and j not in last]
        if not rest:
            return [*picks, *sorted(last)][:k]
        now = covered(similarity, picks)
        gains = [weights[j] * (covered(similarity, [*picks, j]) - now) for j in rest]
        picks.append(rest[gains.index(max(gains))])
    return picks


@pytest.mark.parametrize(("rows", "n", "k"), [(3, 12, 6), (20, 9, 9), (30, 30, 12)])
@pytest.mark.parametrize("weighted", [True, False])
def test_equals_the_objective_of_every_candidate(rows, n, k, weighted):
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        similarity = torch.randn(2, rows, n, generator=generator, dtype=torch.float64)
        weights = torch.rand(2, n, generator=generator, dtype=torch.float64) if weighted else None
        picks = greedy_coverage(similarity, k, weights)
        for crop in range(2):
            table = similarity[crop].tolist()
            wanted = slow_picks(table, weights[crop].tolist() if weighted else [1.0] * n, k)
            # Once all is covered, every gain is zero up to rounding, and the order says nothing.
            full = covered(table, range(n))
            useful = [i for i in range(k) if not math.isclose(covered(table, wanted[:i]), full)]
            assert picks[crop, useful].tolist() == wanted[: len(useful)]
            assert len(set(picks[crop].tolist())) == k


def test_the_guarantee_of_a_submodular_function():
    """At least 1 - 1/e of the best set of three among nine."""
    for seed in range(4):
        tokens = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(seed))
        similarity = cosines(tokens)
        table = similarity[0].tolist()
        best = max(covered(table, chosen) for chosen in itertools.combinations(range(9), 3))
        assert covered(table, greedy_coverage(similarity, 3)[0].tolist()) >= (1 - 1 / math.e) * best


def test_ties_go_to_the_lowest_index_and_nothing_is_picked_twice():
    assert greedy_coverage(torch.ones(1, 4, 5), 5).tolist() == [[0, 1, 2, 3, 4]]
    assert greedy_coverage(torch.zeros(1, 4, 5), 3, torch.zeros(1, 5)).tolist() == [[0, 1, 2]]


def test_some_tokens_are_picked_last():
    """However much they would add; then from the lowest index on."""
    generator = torch.Generator().manual_seed(4)
    similarity = torch.rand(2, 15, 12, generator=generator, dtype=torch.float64)
    similarity[..., [1, 5, 10]] += 5
    mask = torch.zeros(12, dtype=torch.bool).index_fill_(0, torch.tensor([10, 1, 5]), value=True)
    for k in (4, 9, 11, 12):
        picks = greedy_coverage(similarity, k, last=mask)
        for crop in range(2):
            wanted = slow_picks(similarity[crop].tolist(), [1.0] * 12, k, {1, 5, 10})
            assert picks[crop].tolist() == wanted
    assert set(greedy_coverage(similarity, 3)[0].tolist()) & {1, 5, 10}

"""SCOPE, against its gain computed for every candidate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import Scope
from script_exp.pruners.contract.signals import SALIENCY


def similarity_of(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


def slow_scope(features, attention, k, alpha):
    """The picks in order, and the gain of each."""
    similarity, n = similarity_of(features), len(features)
    covered, picks, gains = [0.0] * n, [], []
    for _ in range(k):
        gain = {
            j: attention[j] ** alpha * sum(max(0.0, similarity[i, j] - covered[i]) for i in range(n))
            for j in range(n)
            if j not in picks
        }
        picks.append(max(gain, key=gain.get))
        gains.append(gain[picks[-1]])
        covered = [max(covered[i], similarity[i, picks[-1]]) for i in range(n)]
    return picks, gains


@pytest.mark.parametrize(("n", "k"), [(2, 1), (30, 8), (40, 25), (30, 29)])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 1, 2])
def test_equals_the_gains_written_out(n, k, alpha):
    """Not alpha = 0, where two tokens that cover nothing but each other gain the same."""
    for seed in range(2):
        visual = made_tokens(n, crops=2, seed=seed, tower=48)
        kept = Scope(budget=k, alpha=alpha)(visual).indices
        for crop in range(2):
            features, attention = visual.tower[crop].double().numpy(), visual.signals[SALIENCY][crop].tolist()
            picks, _ = slow_scope(features, attention, k, alpha)
            assert kept[crop].tolist() == sorted(picks)


def test_without_saliency_it_is_greedy_facility_location():
    """Each of four picks among eight tokens raises the covered sum the most; gains never rise."""
    for seed in range(4):
        visual = made_tokens(8, crops=1, seed=seed)
        features = visual.tower[0].double().numpy()
        similarity = similarity_of(features)
        picks = []
        for _ in range(4):
            sums = {
                j: np.maximum(similarity[:, [*picks, j]].max(axis=1), 0).sum()
                for j in range(8)
                if j not in picks
            }
            picks.append(max(sums, key=sums.get))
            assert Scope(budget=len(picks), alpha=0)(visual).indices[0].tolist() == sorted(picks)
        _, gains = slow_scope(features, [1.0] * 8, 8, 0)
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(gains))


@pytest.mark.parametrize("alpha", [-1, 5, "high", float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(SettingError, match=rf"alpha={alpha}: expected a number in \[0, 4\]"):
        Scope(budget=4, alpha=alpha)

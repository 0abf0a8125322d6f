"""DivPrune, against its rule written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import DivPrune, VisualTokens


def slow_divprune(tokens, k):
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    n = len(tokens)
    isolated = [min(distance[i, j] for j in range(n) if j != i) for i in range(n)]
    picks = [isolated.index(max(isolated))]
    while len(picks) < k:
        rest = [i for i in range(n) if i not in picks]
        nearest = [min(distance[i, j] for j in picks) for i in rest]
        picks.append(rest[nearest.index(max(nearest))])
    return sorted(picks)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (9, 4), (60, 1), (60, 25), (60, 59)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_rule_written_out(n, k, seed):
    visual = made_tokens(n, crops=3, seed=seed)
    kept = DivPrune(budget=k, over="crop")(visual).indices
    assert kept.tolist() == [slow_divprune(crop.double().numpy(), k) for crop in visual.projected]


@pytest.mark.parametrize(("crops", "k"), [(1, 7), (5, 1), (5, 7), (5, 19)])
def test_one_choice_over_all_crops(crops, k):
    visual = made_tokens(20, crops=crops, seed=k)
    kept = DivPrune(budget=k)(visual)
    every = visual.projected.reshape(crops * 20, -1)
    assert kept.places.tolist() == slow_divprune(every.double().numpy(), crops * k)
    assert sum(kept.counts) == crops * k
    assert torch.equal(kept.rows, every[kept.places])
    assert (crops == 1) == (len(set(kept.counts)) == 1)
    if crops > 1:
        most, few = max(kept.counts), kept.counts.index(min(kept.counts))
        assert kept.indices.shape == (crops, most)
        assert kept.indices[few].tolist() == kept.by_crop[few] + [-1] * (most - len(kept.by_crop[few]))
        with pytest.raises(ValueError, match="the crops keep"):
            _ = kept.tokens


def test_the_first_pick_is_the_most_isolated_token():
    tokens = 1 + 0.1 * torch.randn(1, 30, 8, generator=torch.Generator().manual_seed(0))
    tokens[0, 17] = -1  # a far outlier
    assert DivPrune(budget=1)(VisualTokens(tokens)).indices.tolist() == [[17]]


def test_equal_tokens_are_kept_after_all_different_ones():
    """The released code picks some twice here: 12 of the 24 tokens differ, and 18 are kept."""
    distinct = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    kept = DivPrune(budget=18)(VisualTokens(distinct.repeat(2, 1)[None])).indices[0]
    assert len(set(kept.tolist())) == 18
    assert set((kept % 12).tolist()) == set(range(12))


def test_norms_do_not_matter():
    visual = made_tokens(40)
    scaled = VisualTokens(visual.projected * torch.rand(2, 40, 1).add(0.5))
    assert torch.equal(DivPrune(budget=10)(visual).places, DivPrune(budget=10)(scaled).places)


def test_over_something_else():
    with pytest.raises(SettingError, match="over=row: expected one of crop, image"):
        DivPrune(budget=4, over="row")

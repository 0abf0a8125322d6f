"""PruMerge and PruMerge+ with a fixed count and as released, against loops over patches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from made_visual import cosine, made

from script_exp.errors import SettingError
from script_exp.pruners import PruMerge, PruMergePlus
from script_exp.pruners.contract.signals import Signal

ATTENTION, KEYS = Signal("flat_saliency", 1), Signal("flat_keys", 1)


def slow_tokens(visual, crop, kept, neighbors, aggregate):
    """The kept tokens with their neighbors, and the token for all others, before the projector."""
    x, b = visual.tower[crop].double(), visual.signals[ATTENTION][crop].double()
    keys, n = visual.signals[KEYS][crop], len(x)
    rows = []
    for i in kept:
        others = sorted((j for j in range(n) if j != i), key=lambda j, i=i: (-cosine(keys[i], keys[j]), j))
        rows.append(x[i] + sum(b[j] * x[j] for j in others[:neighbors]))
    if aggregate:
        rows.append(sum(b[j] * x[j] for j in range(n) if j not in kept))
    return torch.stack(rows).float()


def slow_attended(visual, crop, count):
    b = visual.signals[ATTENTION][crop].tolist()
    return sorted(range(len(b)), key=lambda i: (-b[i], i))[:count]


def slow_plus(visual, crop, k, single):
    """A fifth by attention; the rest at even distances among what is left."""
    kept = slow_attended(visual, crop, min(max(1, round(k / 5)), single))
    left = [i for i in range(visual.tower.shape[1]) if i not in kept]
    spread = single - len(kept)
    return kept + [left[int((j + 0.5) * len(left) / spread)] for j in range(spread)]


@pytest.mark.parametrize("aggregate", [True, False])
@pytest.mark.parametrize("neighbors", [3, 32])
@pytest.mark.parametrize("grid", [(3, 4), (5, 7)])
@pytest.mark.parametrize("plus", [False, True])
def test_equals_the_loop(plus, grid, neighbors, aggregate):
    n = grid[0] * grid[1]
    for seed in range(2):
        visual = made(grid, seed=seed)
        for k in (1, 2, 3, 7, n // 2, n - 1):
            single = k - 1 if aggregate and k > 1 else k
            make = PruMergePlus if plus else PruMerge
            kept = make(budget=k, neighbors=neighbors, aggregate=aggregate)(visual)
            for crop in range(2):
                if plus:
                    wanted = sorted(slow_plus(visual, crop, k, single))
                else:
                    wanted = sorted(slow_attended(visual, crop, single))
                assert kept.indices[crop].tolist() == wanted
                rows = visual.project(slow_tokens(visual, crop, wanted, neighbors, single < k))
                torch.testing.assert_close(kept.tokens[crop], rows, atol=1e-4, rtol=1e-4)


def slow_adaptive(visual, crop, k, plus, aggregate):
    """What the released code keeps of a crop; by the rule for a fixed count if that is more than k."""
    every, n = visual.signals[ATTENTION].double().numpy(), visual.tower.shape[1]
    lower, upper = np.percentile(every, 25), np.percentile(every, 75)
    share = Fraction(max(1, int((every > upper + 1.5 * (upper - lower)).sum())), every.size)
    kept = slow_attended(visual, crop, max(1, int(n * share)))
    if plus:
        step = max(1, int(int(1 / share) / 3))
        kept += [i for i in range(0, n - 1, step) if i not in kept]
    single = k - 1 if aggregate and k > 1 else k
    if len(kept) > single:
        kept = slow_plus(visual, crop, k, single) if plus else slow_attended(visual, crop, single)
    return sorted(kept)


@pytest.mark.parametrize("crops", [1, 5])
@pytest.mark.parametrize("plus", [False, True])
def test_the_adaptive_count_follows_from_the_image(plus, crops):
    counts = set()
    for seed, (grid, aggregate) in enumerate(product([(5, 7), (8, 9)], [True, False])):
        visual, n = made(grid, crops=crops, seed=seed), grid[0] * grid[1]
        for k in (1, 4, n):
            make = PruMergePlus if plus else PruMerge
            kept = make(budget=k, count="adaptive", neighbors=3, aggregate=aggregate)(visual)
            wanted = [slow_adaptive(visual, crop, k, plus, aggregate) for crop in range(crops)]
            assert kept.by_crop == wanted
            extra = aggregate and k > 1
            assert kept.counts == [len(own) + extra for own in wanted]
            assert max(kept.counts) <= k
            slow = [slow_tokens(visual, crop, own, 3, extra) for crop, own in enumerate(wanted)]
            rows = torch.cat([tokens[: len(own)] for tokens, own in zip(slow, wanted, strict=True)])
            others = torch.cat([tokens[len(own) :] for tokens, own in zip(slow, wanted, strict=True)])
            torch.testing.assert_close(kept.rows, visual.project(rows), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(kept.aggregated, visual.project(others), atol=1e-4, rtol=1e-4)
            counts.add(tuple(kept.counts))
    assert len(counts) > 3
    assert any(len(set(one)) > 1 for one in counts) == (plus and crops > 1)


@pytest.mark.parametrize(
    ("share", "tokens"), [(0.02, 47), (0.03, 69), (0.055, 123), (0.08, 180), (0.1, 230), (0.15, 330)]
)
def test_the_released_count_of_plus(share, tokens):
    """The numbers of a check of the released rule, of which overlaps with the sample are random."""
    visual = made((24, 24), crops=1)
    attention = torch.rand(1, 576, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(576, generator=torch.Generator().manual_seed(2))
    attention[0, order[: round(share * 576)]] += 9
    visual = replace(visual, signals=visual.signals | {ATTENTION: attention})
    (count,) = PruMergePlus(budget=576, count="adaptive")(visual).counts
    assert abs(count - tokens) <= 0.05 * tokens
    (cut,) = PruMergePlus(budget=40, count="adaptive")(visual).counts
    assert cut == 40


def test_all_patches_from_a_fifth_on():
    """All but the last patch, which the sample never reaches, and the token for all others."""
    visual = made((24, 24), crops=1)
    attention = torch.rand(1, 576)
    attention[0, :130] += 9
    kept = PruMergePlus(budget=576, count="adaptive")(
        replace(visual, signals=visual.signals | {ATTENTION: attention})
    )
    assert kept.by_crop == [list(range(575))]
    assert kept.counts == [576]


def test_twelve_patches_and_three_neighbors():
    """The definition on numbers that can be checked by hand: keys on a circle, equal weights."""
    angle = torch.arange(12) * 2 * torch.pi / 12
    angle[7] += 0.01  # patch 3 is nearer to patch 5
    keys = torch.stack([angle.cos(), angle.sin()], dim=-1)[None]
    tower = torch.eye(12)[None]
    attention = torch.full((1, 12), 0.1)
    attention[0, 5] = 0.2
    visual = replace(
        made((3, 4), crops=1),
        tower=tower,
        projected=tower,
        project=lambda features: features,
        signals={ATTENTION: attention, KEYS: keys},
    )
    kept = PruMerge(budget=2, neighbors=3)(visual)
    assert kept.indices.tolist() == [[5]]
    row, rest = kept.tokens[0]
    torch.testing.assert_close(row, torch.tensor([0.0] * 3 + [0.1, 0.1, 1.0, 0.1] + [0.0] * 5))
    torch.testing.assert_close(rest, torch.where(torch.arange(12) == 5, 0.0, 0.1))


def test_plus_splits_the_budget():
    """13 of 64 by attention, 50 over the grid, one for all others."""
    visual = made((24, 24), crops=1)
    kept = PruMergePlus(budget=64)(visual)
    assert kept.indices.shape == (1, 63)
    assert kept.tokens.shape[1] == 64
    assert set(slow_attended(visual, 0, 13)) <= set(kept.indices[0].tolist())
    sample = [i for i in kept.indices[0].tolist() if i not in slow_attended(visual, 0, 13)]
    assert max(b - a for a, b in pairwise(sample)) <= 24


def test_without_tower_features_only_the_sum_over_the_others_is_impossible():
    visual = replace(made(), tower=None, project=None)
    with pytest.raises(SettingError, match="aggregate=True: expected false"):
        PruMerge(budget=4)(visual)
    assert PruMerge(budget=4, aggregate=False)(visual).tokens.shape == (2, 4, 9)


def test_the_layer_names_the_signals():
    visual = made()
    own = {Signal("flat_saliency"): visual.signals[ATTENTION], Signal("flat_keys"): visual.signals[KEYS]}
    moved = replace(visual, signals=own)
    assert torch.equal(PruMerge(budget=4, layer=0)(moved).tokens, PruMerge(budget=4)(visual).tokens)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: PruMerge(budget=4, neighbors=0), "neighbors=0"),
        (lambda: PruMerge(budget=4, layer=2), "layer=2"),
        (lambda: PruMerge(budget=4, layer="last"), "layer=last"),
        (lambda: PruMerge(budget=4, aggregate="no"), "aggregate=no"),
        (lambda: PruMerge(budget=4, count="most"), "count=most"),
        (lambda: PruMergePlus(budget=4, attended=0), "attended=0"),
        (lambda: PruMergePlus(budget=4, attended=1.0), "attended=1.0"),
        (lambda: PruMergePlus(budget=4, neighbors=1.5), "neighbors=1.5"),
    ],
)
def test_out_of_range(make, key):
    with pytest.raises(SettingError, match=f"^{key}: expected "):
        make()

"""HiPrune, against its rule written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import HiPrune
from script_exp.pruners.contract.signals import Signal

OBJECT, DEEP = Signal("received", 0.39), Signal("received")


def made(rows, columns, crops=3, seed=0):
    return made_tokens(rows * columns, crops, seed, signals=(OBJECT, DEEP), grid=(rows, columns))


def crosses(objects, count, columns):
    """The anchors and their neighbors in a raster whose rows continue in each other."""
    anchors = sorted(range(len(objects)), key=lambda i: (-objects[i], i))[:count]
    last = len(objects) - 1
    return {min(max(i + step, 0), last) for i in anchors for step in (0, -1, 1, -columns, columns)}


def slow_hiprune(objects, deep, columns, k, alpha):
    unique = crosses(objects, round(k * alpha / 5), columns)
    others = sorted(set(range(len(deep))) - unique, key=lambda i: (-deep[i], i))
    return sorted(unique | set(others[: k - len(unique)]))


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (6, 11)])
@pytest.mark.parametrize(("k", "alpha"), [(1, 0.1), (20, 0.1), (32, 0.1), (30, 0.5), (60, 0.8), (40, 0)])
def test_equals_the_rule_written_out(rows, columns, k, alpha):
    for seed in range(3):
        visual = made(rows, columns, seed=seed)
        kept = HiPrune(budget=k, alpha=alpha)(visual).indices
        for crop in range(3):
            objects, deep = (visual.signals[one][crop].tolist() for one in (OBJECT, DEEP))
            assert kept[crop].tolist() == slow_hiprune(objects, deep, columns, k, alpha)


@pytest.mark.parametrize(("budget", "anchors"), [(192, 4), (128, 3), (64, 1), (32, 1), (25, 0)])
def test_the_anchors_of_published_budgets(budget, anchors):
    """So many crosses are kept where the deep layer attends to none of them."""
    visual = made(24, 24, crops=1)
    objects = torch.zeros(1, 576)
    places = [100, 210, 320, 430, 540][: anchors + 1]
    objects[0, places] = torch.arange(len(places), 0, -1.0)
    deep = torch.ones(1, 576)
    deep[0, sorted(crosses(objects[0].tolist(), len(places), 24))] = 0
    kept = HiPrune(budget=budget)(replace(visual, signals={OBJECT: objects, DEEP: deep})).indices[0]
    assert (deep[0, kept] == 0).sum() == 5 * anchors


@pytest.mark.parametrize(
    ("anchor", "cross"),
    [(0, {0, 1, 24}), (23, {22, 23, 24, 47, 0}), (552, {551, 552, 553, 528, 575}), (575, {574, 575, 551})],
)
def test_anchors_at_corners(anchor, cross):
    """Indices are cut to the crop, so that the right neighbor of patch 23 is patch 24."""
    visual = made(24, 24, crops=1)
    objects, deep = torch.zeros(1, 576), torch.ones(1, 576)
    objects[0, anchor] = 1
    deep[0, list(cross)] = 0
    kept = HiPrune(budget=32)(replace(visual, signals={OBJECT: objects, DEEP: deep})).indices[0]
    assert set(kept[deep[0, kept] == 0].tolist()) == cross


def test_crosses_never_exceed_the_budget():
    for k in range(1, 12):
        assert HiPrune(budget=k, alpha=1)(made(6, 6)).indices.shape == (3, k)


def test_without_a_grid_there_is_nothing_above_and_below():
    visual = made(1, 40)
    assert torch.equal(
        HiPrune(budget=30)(replace(visual, grid=None)).indices,
        torch.tensor([
            slow_hiprune(*(visual.signals[one][crop].tolist() for one in (OBJECT, DEEP)), 0, 30, 0.1)
            for crop in range(3)
        ]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"), [("alpha", -1), ("alpha", 1.5), ("layer", -1.5), ("layer", "middle")]
)
def test_settings_out_of_range(key, value):
    with pytest.raises(SettingError, match=f"^{key}={value}: expected"):
        HiPrune(budget=4, **{key: value})

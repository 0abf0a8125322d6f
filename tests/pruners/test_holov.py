"""HoloV as released, against its steps written out, with the surplus of full runs handed on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import HoloV
from script_exp.pruners.before_llm.holov import members_of
from script_exp.pruners.contract.signals import SALIENCY


def runs_of(n, runs):
    """Contiguous runs of n // runs patches; the first n % runs have one more."""
    parts, start = [], 0
    for run in range(runs):
        size = n // runs + (run < n % runs)
        parts.append(list(range(start, start + size)))
        start += size
    return parts


def slow_weights(tokens, attention, parts, gamma):
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    means = []
    for part in parts:
        pairs = max(1, len(part) - 1)
        variances = []
        for i in part:
            similar = [0.0 if i == j else float(unit[i] @ unit[j]) for j in part]
            mean = sum(similar) / pairs
            variances.append(sum((one - mean) ** 2 for one in similar) / pairs)
        saliency = [1000 * attention[i] for i in part]
        scale = (sum(saliency) / len(part)) / (sum(variances) / len(part) + 1e-6)
        scores = [a + gamma * v * scale for a, v in zip(saliency, variances, strict=True)]
        means.append(sum(scores) / len(part))
    return [mean / sum(means) for mean in means]


def slow_holov(tokens, attention, runs, k, gamma=0.09):
    parts = runs_of(len(tokens), runs)
    weights = slow_weights(tokens, attention, parts, gamma)
    quotas = [int(weight * k) for weight in weights]
    by_weight = sorted(range(runs), key=lambda run: -weights[run])
    for run in by_weight[: k - sum(quotas)]:
        quotas[run] += 1
    released = [min(quota, len(part)) for quota, part in zip(quotas, parts, strict=True)]
    # Here no token is lost: runs with room get one more each in turn.
    quotas = [min(int(weight * k), len(part)) for weight, part in zip(weights, parts, strict=True)]
    extra = [0] * runs
    while sum(quotas) + sum(extra) < k:
        for run in by_weight:
            if sum(quotas) + sum(extra) < k and quotas[run] + extra[run] < len(parts[run]):
                extra[run] += 1
    final = [quota + more for quota, more in zip(quotas, extra, strict=True)]
    if sum(released) == k:
        assert final == released
    kept = []
    for part, quota in zip(parts, final, strict=True):
        kept += sorted(part, key=lambda i: -attention[i])[:quota]
    return sorted(kept)


@pytest.mark.parametrize(("n", "runs"), [(2, 1), (48, 16), (50, 8), (53, 5), (20, 20)])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_equals_the_steps_written_out(n, runs, share):
    k = max(1, int(share * n))
    for seed in range(3):
        visual = made_tokens(n, crops=3, seed=seed)
        kept = HoloV(budget=k, runs=runs, over="crop")(visual).indices
        for crop in range(3):
            tokens, attention = (
                visual.projected[crop].double().numpy(),
                visual.signals[SALIENCY][crop].tolist(),
            )
            assert kept[crop].tolist() == slow_holov(tokens, attention, runs, k)


def picture_of(tiles, grid):
    """(crop, index) of the base crop and then of the rows of the picture."""
    rows, columns = grid
    order = [(0, index) for index in range(rows * columns)]
    for row in range(tiles[0] * rows):
        for column in range(tiles[1] * columns):
            crop = 1 + row // rows * tiles[1] + column // columns
            order.append((crop, row % rows * columns + column % columns))
    return order


@pytest.mark.parametrize("tiles", [None, (1, 2), (2, 2), (3, 1)])
def test_one_choice_over_all_crops(tiles):
    """Runs go through the base crop and then through the rows of the picture; frames follow each other."""
    grid, crops = (3, 4), 5 if tiles is None else 1 + tiles[0] * tiles[1]
    order = [(i // 12, i % 12) for i in range(60)] if tiles is None else picture_of(tiles, grid)
    for k, runs in ((2, 7), (5, 4), (11, 3)):
        visual = replace(made_tokens(12, crops=crops, seed=k, grid=grid), tiles=tiles)
        kept = HoloV(budget=k, runs=runs)(visual)
        tokens = np.stack([visual.projected[place].double().numpy() for place in order])
        attention = [float(visual.signals[SALIENCY][place]) for place in order]
        wanted = sorted(order[i] for i in slow_holov(tokens, attention, runs, crops * k))
        assert [(crop, i) for crop, own in enumerate(kept.by_crop) for i in own] == wanted
        assert sum(kept.counts) == crops * k


@pytest.mark.parametrize(("budget", "runs"), [(64, 16), (128, 8), (192, 5), (575, 1), (1, 576)])
def test_the_runs_of_published_budgets(budget, runs):
    visual = made_tokens(576, crops=1)
    assert torch.equal(HoloV(budget=budget)(visual).indices, HoloV(budget=budget, runs=runs)(visual).indices)


def test_the_variance_changes_no_quota():
    for seed in range(20):
        visual = made_tokens(96, crops=2, seed=seed)
        kept = [HoloV(budget=30, runs=8, gamma=gamma)(visual).places for gamma in (0.09, 0.0)]
        assert torch.equal(*kept)


def test_what_a_run_cannot_hold_goes_to_the_others():
    """The first of four runs has nearly all attention, but only four patches; seven tokens remain."""
    visual = made_tokens(16, crops=1)
    attention = torch.tensor([[1.0] * 4 + [3e-3] * 4 + [1e-3] * 4 + [2e-3] * 4])
    kept = HoloV(budget=11, runs=4)(replace(visual, signals={SALIENCY: attention})).indices[0]
    assert (kept // 4).bincount().tolist() == [4, 3, 2, 2]


def test_runs_cover_the_raster():
    assert members_of(7, 3).tolist() == [[0, 1, 2], [3, 4, 7], [5, 6, 7]]


def test_where_nothing_is_attended_to_the_runs_share_evenly():
    visual = made_tokens(12, crops=1)
    kept = HoloV(budget=6, runs=3)(replace(visual, signals={SALIENCY: torch.zeros(1, 12)})).indices
    assert kept.tolist() == [[0, 1, 4, 5, 8, 9]]


@pytest.mark.parametrize(
    ("key", "value"), [("runs", 0), ("runs", 2.5), ("gamma", -1), ("gamma", 2), ("over", "row")]
)
def test_settings_out_of_range(key, value):
    with pytest.raises(SettingError, match=f"^{key}={value}: expected"):
        HoloV(budget=4, **{key: value})


def test_more_runs_than_tokens():
    with pytest.raises(SettingError, match="runs=10: expected at most 9, the tokens to choose from"):
        HoloV(budget=4, runs=10)(made_tokens(9, crops=1))

"""PruneSID, against its steps written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.pruners import PruneSID
from script_exp.pruners.before_llm.prunesid import principal_groups, quotas
from script_exp.pruners.contract.signals import SALIENCY


def slow_groups(features, components):
    """The patch's largest entry among the leading right singular vectors of the centered table."""
    values = 1 / (1 + np.exp(-features))
    table = (values - values.mean(axis=1, keepdims=True)).T  # channels x patches
    _, _, vectors = np.linalg.svd(table)
    kept = max(1, min(components, features.shape[1] - 1))
    return [int(np.argmax(np.abs(row))) for row in vectors[:kept].T]


def slow_rounds(groups, scores, similarity, threshold):
    """The order of each group's tokens, and how many of them are never killed."""
    orders, survivors = {}, {}
    for group in set(groups):
        members = [i for i, own in enumerate(groups) if own == group]
        live, taken, killed = list(members), [], []
        while live:
            best = max(live, key=lambda i: (scores[i], -i))
            taken.append(best)
            live.remove(best)
            gone = [i for i in live if similarity[i, best] > threshold]
            killed += gone
            live = [i for i in live if i not in gone]
        orders[group] = taken + sorted(killed, key=lambda i: (-scores[i], i))
        survivors[group] = len(taken)
    return orders, survivors


def slow_quotas(sizes, survivors, k):
    most = [min(5 * math.ceil(k / 64), size, alive) for size, alive in zip(sizes, survivors, strict=True)]
    while sum(most) < k:
        most = [min(one + 1, size) for one, size in zip(most, sizes, strict=True)]
    least = [min(1, size) for size in sizes]
    other, passed, before, quota = k - sum(least), 0, 0, []
    for low, high, alive in zip(least, most, survivors, strict=True):
        passed += alive
        end = round(passed / sum(survivors) * other)
        quota.append(min(low + end - before, high))
        before = end
    for group in sorted(range(len(sizes)), key=lambda group: -survivors[group]):
        quota[group] += min(most[group] - quota[group], k - sum(quota))
    return quota


def slow_prunesid(features, attention, k):
    count = max(1, k // 4)
    groups = slow_groups(features, count)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    mean = np.mean([similarity[i, j] for i in range(len(unit)) for j in range(i)])
    orders, alive = slow_rounds(groups, attention, similarity, mean * k / 32)
    sizes = [len(orders.get(group, [])) for group in range(count)]
    quota = slow_quotas(sizes, [alive.get(group, 0) for group in range(count)], k)
    return sorted(i for group in orders for i in orders[group][: quota[group]])


@pytest.mark.parametrize(("n", "tower"), [(2, 5), (50, 80), (70, 24)])
@pytest.mark.parametrize("k", [1, 3, 8, 20, 32, 49, 69])
def test_equals_the_steps_written_out(n, tower, k):
    if k >= n:
        k = n - 1
    for seed in range(3):
        visual = made_tokens(n, crops=2, seed=seed, tower=tower)
        kept = PruneSID(budget=k)(visual).indices
        for crop in range(2):
            features, attention = visual.tower[crop].double().numpy(), visual.signals[SALIENCY][crop].tolist()
            assert kept[crop].tolist() == slow_prunesid(features, attention, k)


@pytest.mark.parametrize("k", [1, 16, 64, 70, 150])
def test_quotas_equal_the_loop(k):
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        sizes = torch.randint(0, 30, (3, 15), generator=generator)
        sizes[:, 3] += 150
        survivors = (sizes * torch.rand(3, 15, generator=generator)).ceil().long()
        found = quotas(sizes, survivors, k)
        assert found.sum(dim=1).tolist() == [k] * 3
        assert (found <= sizes).all()
        for crop in range(3):
            assert found[crop].tolist() == slow_quotas(sizes[crop].tolist(), survivors[crop].tolist(), k)


def test_a_duplicate_is_kept_last():
    """Of six directions twice each, 4 tokens in one group are kept: the better ones of four directions."""
    features = torch.eye(6).repeat(2, 1)[None] + 1
    attention = torch.arange(12, 0, -1.0)[None] / 100
    visual = replace(made_tokens(12, crops=1), tower=features, signals={SALIENCY: attention})
    kept = PruneSID(budget=4)(visual).indices[0]
    assert kept.tolist() == [0, 1, 2, 3]


def test_groups_do_not_depend_on_the_crops_beside():
    features = made_tokens(60, crops=3, tower=90).tower
    alone = torch.cat([principal_groups(crop[None], 9) for crop in features])
    assert torch.equal(principal_groups(features, 9), alone)
    assert len(alone.unique()) == 9

"""VisPruner, against its rounds written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import FasterVLM, VisPruner
from script_exp.pruners.before_llm.vispruner import removals
from script_exp.pruners.contract.signals import SALIENCY


def slow_vispruner(features, attention, k, ratio):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    ranked = sorted(range(len(unit)), key=lambda i: (-attention[i], i))
    important = ranked[: int(k * ratio)]
    diverse = k - len(important)
    rest = ranked[len(important) :] if diverse else []
    while len(rest) > diverse:
        even, odd = rest[0::2], rest[1::2]
        nearest = {i: max(float(unit[i] @ unit[j]) for j in odd) for i in even}
        even.sort(key=lambda i, nearest=nearest: -nearest[i])  # stable
        rest = even[min(8, len(rest) - diverse, len(even)) :] + odd
    return sorted(important + rest)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (7, 2), (60, 1), (60, 20), (61, 21), (60, 59)])
@pytest.mark.parametrize("ratio", [0, 0.5, 0.75, 1])
def test_equals_the_rounds_written_out(n, k, ratio):
    for seed in range(3):
        visual = made_tokens(n, crops=3, seed=seed)
        kept = VisPruner(budget=k, important=ratio)(visual).indices
        for crop in range(3):
            features, attention = visual.tower[crop].double().numpy(), visual.signals[SALIENCY][crop].tolist()
            assert kept[crop].tolist() == slow_vispruner(features, attention, k, ratio)


@pytest.mark.parametrize(("budget", "rounds"), [(192, 48), (128, 56), (64, 64), (32, 68)])
def test_the_rounds_of_published_budgets(budget, rounds):
    important = budget // 2
    assert removals(576 - important, budget - important) == [8] * rounds


def test_a_round_never_removes_more_than_a_half():
    assert removals(9, 1) == [5, 2, 1]
    assert removals(3, 3) == []


def test_all_important_is_fastervlm():
    visual = made_tokens(50)
    assert torch.equal(
        VisPruner(budget=12, important=1)(visual).indices, FasterVLM(budget=12)(visual).indices
    )


def test_the_scale_of_features_does_not_matter_and_without_a_tower_projected_tokens_count():
    visual = made_tokens(50)
    kept = VisPruner(budget=12)(visual).indices
    assert torch.equal(VisPruner(budget=12)(replace(visual, tower=4 * visual.tower)).indices, kept)
    swapped = replace(visual, projected=visual.tower, tower=None)
    assert torch.equal(VisPruner(budget=12)(swapped).indices, kept)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, "half", float("nan")])
def test_a_share_out_of_range(ratio):
    with pytest.raises(SettingError, match=f"important={ratio}: expected a share of the budget"):
        VisPruner(budget=4, important=ratio)

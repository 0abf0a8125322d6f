"""Schedules of the methods inside the LLM: published ones, and the lowest budgets that they can meet."""

from __future__ import annotations

import pytest

from script_exp.errors import SettingError
from script_exp.pruners import DART, VTW


def average(pruner, tokens=576, layers=32):
    return sum(pruner.lengths(tokens, layers)) / layers


def test_vtw_withdraws_everything_at_a_layer_that_follows_from_the_budget():
    assert VTW(budget=270).schedule(576, 32) == {15: 0}
    assert VTW(budget=0.5).schedule(576, 28) == {14: 0}
    assert VTW(budget=576).schedule(576, 32) == {}
    assert VTW(budget=64).schedule(576, 32) == {4: 0}
    assert average(VTW(budget=64)) == 72  # 18 tokens a layer
    with pytest.raises(SettingError, match="budget=9: expected at least 10 as an average over 32 layers"):
        VTW(budget=9).schedule(576, 32)
    assert VTW(budget=10).schedule(576, 32) == {1: 0}
    with pytest.raises(SettingError, match="budget_as=after: expected average: no visual token remains"):
        VTW(budget=64, budget_as="after")


def test_darts_default_leaves_132():
    assert DART(budget=132, budget_as="after").lengths(576, 32) == [576] * 2 + [132] * 30
    assert average(DART(budget=132, budget_as="after")) == 159.75

"""FastV's schedule: one layer, and the lowest average budget that it can meet."""

from __future__ import annotations

import pytest

from script_exp.errors import SettingError
from script_exp.pruners import FastV


def test_fastv_as_an_average_has_a_floor():
    pruner = FastV(budget=64, layer=2)
    assert pruner.lengths(576, 32) == [576, 576] + [30] * 30
    with pytest.raises(SettingError, match=r"budget=36: expected at least 37 as an average over 32 layers"):
        FastV(budget=36, layer=2).lengths(576, 32)[-1]
    assert FastV(budget=37, layer=2).lengths(576, 32)[-1] == 1
    with pytest.raises(SettingError, match=r"layer=32: expected a decoder layer from 1 to 31"):
        FastV(budget=64, layer=32).lengths(576, 32)[-1]

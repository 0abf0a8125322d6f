"""Which cells a sweep has."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir

from script_exp.config.command_line import CONF
from script_exp.sweeps.plan import expand


@pytest.fixture(autouse=True)
def hydra():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield


def test_the_product_of_all_values_in_order():
    cells = expand({"pruner": "none,script"}, ["budget=64,32", "limit=6"])
    assert cells == [
        ["pruner=none", "budget=64", "limit=6"],
        ["pruner=none", "budget=32", "limit=6"],
        ["pruner=script", "budget=64", "limit=6"],
        ["pruner=script", "budget=32", "limit=6"],
    ]


def test_the_command_line_replaces_a_parameter_of_the_experiment():
    assert expand({"pruner": "none,script", "budget": "64,32"}, ["pruner=trim"]) == [
        ["pruner=trim", "budget=64"],
        ["pruner=trim", "budget=32"],
    ]


def test_one_cell_without_anything_to_sweep():
    assert expand(None, ["pruner=trim"]) == [["pruner=trim"]]


def test_a_glob_stands_for_the_files_that_it_matches():
    cells = expand(None, ["pruner=glob(script*)"])
    assert cells == [["pruner=script"], ["pruner=script_released"]]

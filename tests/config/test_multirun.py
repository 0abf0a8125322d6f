"""The cells of a sweep."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from script_exp.config.command_line import CONF
from script_exp.config.multirun import compose_each, expand


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


SWEEPS = [
    ["pruner=script,trim", "budget=64,0.5", "limit=6"],
    ["benchmark=shapes", "seed=range(0,3)", "pruner=none"],
    ["pruner=trim,script", "pruner=none"],  # the last one counts, in the place of the first
    ["++benchmark.scenes=choice(1,2)", "+model.extra=[a,b]", "~tracker", "outputs='a b,c'"],
]


@pytest.mark.parametrize("arguments", SWEEPS, ids=" ".join)
def test_the_cells_are_those_of_hydras_sweeper(arguments):
    """Hydra numbers the jobs; a release of it that lists them otherwise is found here."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    assert expand(None, arguments) == BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]


def test_a_sweep_that_cannot_be_listed_is_refused():
    with pytest.raises(HydraException):
        expand(None, ["budget=interval(1,5)"])


VALUES = [
    ["pruner=none,random,script", "budget=64,0.5", "seed=0,1", "outputs='a b',c"],
    ["pruner=graph", "++pruner.threshold=0.1,0.2", "benchmark.scenes=1,2", "limit=null,3"],
    ["experiment=smoke", "latency=on,off", "++tracker.extra=1,2"],
    ["+pruner.more=1,2", "~pruner.padding", "++pruner={walk:3}", "pruner.walk=4", "tracker=wandb,none"],
]


@pytest.mark.parametrize("arguments", VALUES, ids=" ".join)
def test_configs_are_those_that_hydra_composes(arguments):
    cells = expand(None, arguments)
    quick = list(compose_each(cells, lambda cell: compose("config", cell)))
    assert len(quick) == len(cells)
    for cell, config in zip(cells, quick, strict=True):
        assert config == compose("config", cell)


def test_cells_that_differ_in_values_are_composed_once():
    composed = []

    def count(cell):
        composed.append(cell)
        return compose("config", cell)

    cells = expand(None, ["pruner=none,random", "budget=192,128,64,32,16", "seed=0,1,2"])
    assert len(list(compose_each(cells, count))) == 30
    assert composed == [["pruner=none"], ["pruner=random"]]


def test_a_key_that_is_not_there_is_hydras_error():
    with pytest.raises(HydraException, match="bugdet"):
        list(compose_each([["bugdet=1"]], lambda cell: compose("config", cell)))

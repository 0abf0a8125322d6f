"""Every file in conf/experiment composes, and has the cells that its comment promises."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from script_exp.cell.build import build_pruner
from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.sweeps.experiment import composed_cells, experiment_cells

IMAGE10 = ["vqav2", "gqa", "vizwiz", "scienceqa", "textvqa", "pope", "mme", "mmbench", "mmbench_cn", "mmvet"]
VIDEO4 = ["mvbench", "videomme", "longvideobench", "mlvu"]
OVER_TIME = {"evs", "vidcom2", "dycoke", "fastvid", "prunevid", "holitom", "framefusion"}
BOTH = {"holitom_both", "prunevid_both", "framefusion_both"}
FIVE_BUDGETS = [192, 128, 64, 32, 16]
DOCS = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text()


@cache
def every(name):
    """Settings of all cells of an experiment, which are composed once for all tests."""
    return [RunSettings.from_config(config) for _, config in composed_cells([f"experiment={name}"])]


def cells(name, benchmark=None, budget=None):
    """The distinct cells; if given, of one benchmark, and of one budget and the unpruned one."""
    found = set()
    for one in every(name):
        if benchmark in (None, one.benchmark["name"]) and (budget is None or one.budget in (None, budget)):
            build_pruner(one)
            found.add((one.model.name, one.benchmark["name"], one.pruner["name"], one.budget))
    return found


def tiny(pruner, budget):
    return ("tiny", "shapes", pruner, budget)


def names(group):
    return {file.stem for file in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize(
    ("name", "count"), re.findall(r"experiment=(\w+)[^|]*\$\{S\[@\]\}\"` \| (\d+) \|", DOCS)
)
def test_the_docs_count_distinct_cells(name, count):
    assert len({repr(one) for one in every(name)}) == int(count)


def test_the_docs_count_every_experiment():
    assert len(re.findall(r"experiment=\w+[^|]*\$\{S\[@\]\}\"` \| \d+ \|", DOCS)) == 10


def test_module_ablation():
    pruned = {tiny(pruner, budget) for pruner in ("graph", "query", "script") for budget in FIVE_BUDGETS}
    assert cells("module_ablation") == {tiny("none", None)} | pruned


def test_budget_sweep():
    methods = {"random", "graph", "query", "script", "trim", "fastv", "pyramid"}
    pruned = {tiny(pruner, budget) for pruner in methods for budget in FIVE_BUDGETS}
    assert cells("budget_sweep") == {tiny("none", None)} | pruned


def test_catalogue_has_every_method():
    """And a composition; but what compares the frames of a video."""
    methods = names("pruner") - {"none", "script_released", "composed"} | {"visionzip-fastv"}
    methods -= OVER_TIME | BOTH | {"framefusion_inside"}
    pruned = {tiny(pruner, budget) for pruner in methods for budget in FIVE_BUDGETS}
    assert cells("catalogue") == {tiny("none", None)} | pruned


def test_catalogue_video():
    """Every method that compares frames; one of them cannot have the budgets below a quarter."""
    params = OmegaConf.load(CONF / "experiment" / "catalogue_video.yaml").hydra.sweeper.params
    assert params.benchmark.split(",") == VIDEO4
    methods = OVER_TIME | BOTH | {"random", "divprune", "visionzip", "fastv"}
    model = "llava_onevision_7b"
    pruned = {(model, "mlvu", pruner, budget) for pruner in methods for budget in (0.25, 0.2, 0.15, 0.1)}
    assert cells("catalogue_video", benchmark="mlvu") == {(model, "mlvu", "none", None)} | pruned
    fastv = [one.pruner["budget_as"] for one in every("catalogue_video") if one.pruner["name"] == "fastv"]
    assert set(fastv) == {"average"}
    some = ["experiment=catalogue_video", "benchmark=clips", "model.weights=random", "pruner=dycoke"]
    assert [one.state for one in experiment_cells(some)] == ["missing", "invalid", "invalid", "invalid"]


def test_catalogue_clips():
    """The same on the embedded benchmark; the mean is reachable by all but the one that cannot have 0.1."""
    params = OmegaConf.load(CONF / "experiment" / "catalogue_clips.yaml").hydra.sweeper.params
    assert set(params.pruner.split(",")) == OVER_TIME | BOTH | {"none", "random", "divprune"}
    some = ["experiment=catalogue_clips", "pruner=dycoke," + ",".join(BOTH), "budget=0.1"]
    invalid = [one for one in experiment_cells(some) if one.state == "invalid"]
    assert [one.overrides for one in invalid] == [["pruner=dycoke"]]


def test_graph_threshold():
    settings = every("graph_threshold")
    counts = Counter((one.pruner["name"], one.pruner["threshold"]) for one in settings)
    assert counts == {("graph", threshold): 3 for threshold in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)}
    assert {one.budget for one in settings} == {192, 64, 16}


@pytest.mark.parametrize(
    ("name", "model", "methods", "budgets"),
    [
        ("paper_llava_1_5", "llava_1_5_7b", {"fastv", "trim", "script"}, [192, 128, 64]),
        ("paper_llava_next", "llava_next_7b", {"trim", "script"}, [128, 64, 32]),
    ],
)
def test_papers(name, model, methods, budgets):
    params = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").hydra.sweeper.params
    assert params.benchmark.split(",") == IMAGE10
    pruned = {(model, "pope", method, budget) for method in methods for budget in budgets}
    assert cells(name, benchmark="pope") == {(model, "pope", "none", None)} | pruned
    # Every cell can be run: budgets that a method cannot reach are found without weights and data.
    given = [f"experiment={name}", "benchmark=shapes", "model.weights=random"]
    assert {config.query_text for _, config in composed_cells(given)} == {"released"}
    states = experiment_cells(given)
    assert {state.state for state in states} == {"missing"}
    assert len(states) == 1 + len(methods) * len(budgets)


def test_smoke_is_one_quick_cell():
    (one,) = every("smoke")
    assert one.limit == 16


def test_readme_is_a_part_of_the_budget_sweep():
    assert len(cells("readme", budget=64)) == 7


def test_a_wrong_override_is_one_sentence():
    with pytest.raises(UserError, match=r"budgt=64: expected one of the keys .* \(did you mean budget\?"):
        list(composed_cells(["experiment=readme", "budgt=64"]))


@pytest.mark.parametrize("suite", ["benchmark=gqa,pope", "experiment=paper_llava_1_5"])
def test_a_key_that_only_the_swept_benchmarks_have(suite):
    """Hydra alone refuses it, because the default benchmark, with which it begins, has no such key."""
    words = [suite, "pruner=trim", "benchmark.on_error=skip", "budget=64"]
    composed = [config for _, config in composed_cells(words)]
    assert {config.benchmark.on_error for config in composed} == {"skip"}
    assert len({config.benchmark.name for config in composed}) == (10 if "paper" in suite else 2)


def test_a_key_that_not_all_swept_benchmarks_have():
    with pytest.raises(UserError, match=r"on_error=skip: expected one of the keys of benchmark=shapes: name"):
        list(composed_cells(["benchmark=gqa,shapes", "benchmark.on_error=skip"]))
    message = r"protocoll=lmms: expected one of the keys of benchmark=vqav2: .* \(did you mean protocol or "
    with pytest.raises(UserError, match=message):
        list(composed_cells(["experiment=paper_llava_1_5", "benchmark.protocoll=lmms"]))


def test_a_method_that_does_not_draw_has_one_run_for_all_seeds():
    methods = ["pruner=none,random,trim", "seed=0,1", "budget=64", "benchmark.scenes=1"]
    seeds = [
        (settings.pruner["name"], settings.seed)
        for settings in (RunSettings.from_config(config) for _, config in composed_cells(methods))
    ]
    assert seeds == [("none", 0), ("none", 0), ("random", 0), ("random", 1), ("trim", 0), ("trim", 0)]
    assert len(experiment_cells(methods)) == 4
    unpruned = {
        RunCell.prepare(RunSettings.from_config(config)).unpruned().identity
        for _, config in composed_cells(methods)
    }
    assert len(unpruned) == 1


def test_a_method_that_draws_needs_the_seed():
    (state,) = experiment_cells(["pruner=random", "~pruner.seed", "budget=64"])
    assert state.state == "invalid"
    assert state.why == "pruner.seed is missing: expected seed: ${seed} in the config of a method that draws"

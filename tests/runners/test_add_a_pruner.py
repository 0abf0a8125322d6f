"""The steps of CONTRIBUTING.md, followed: the method printed there, its config, and a run of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from contributing import printed
from processes import last_line, run

IMPORTS = """
from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners import FastV, Pruner, Query, ScorePruner, VisualTokens
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, States
from script_exp.pruners.contract.signals import SALIENCY, Signal
"""


@pytest.fixture
def method(tmp_path):
    """The method of CONTRIBUTING.md in a file of its own, and its config."""
    file = tmp_path / "norm_pruner.py"
    file.write_text(IMPORTS + "\n" + printed("Norm"))
    config = tmp_path / "conf" / "pruner" / "norm.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("_target_: norm_pruner.Norm\nname: norm\np: 2.0\n")
    return SimpleNamespace(file=file, config=config, outputs=tmp_path / "outputs")


def run_it(method, *overrides):
    arguments = [
        "pruner=norm", "budget=31", "benchmark.scenes=1", "limit=4", "latency=off",
        "unpruned=off", f"outputs={method.outputs}",
        f"hydra.searchpath=[file://{method.config.parents[1]}]", *overrides,
    ]  # fmt: skip
    return run(*arguments, PYTHONPATH=str(method.file.parent))


def test_a_new_method_runs_after_adding_one_file_and_one_config(method):
    result = json.loads(
        (Path(last_line(run_it(method, "pruner.p=3"))["run_dir"]) / "result.json").read_text()
    )
    assert result["tokens"]["kept"] == 31
    assert result["cell"]["variant"] == "p=3"


@pytest.mark.parametrize(
    ("name", "settings"), [("Attended", ""), ("Strips", ""), ("Changed", "budget_as: after\n")]
)
def test_a_method_that_reads_the_tower_one_that_merges_and_one_inside_the_llm(method, name, settings):
    method.file.write_text(IMPORTS + "\n" + printed(name))
    method.config.write_text(f"_target_: norm_pruner.{name}\nname: norm\n{settings}")
    result = json.loads((Path(last_line(run_it(method))["run_dir"]) / "result.json").read_text())
    assert result["tokens"]["kept"] == 31


def test_a_result_of_an_earlier_version_of_the_method_is_said_to_be_one(method):
    run_it(method)
    assert "has changed since" not in run_it(method).stderr
    method.file.write_text(method.file.read_text().replace("return visual", "return -visual"))
    process = run_it(method)
    assert "the file of pruner=norm has changed since this run; force=true starts over" in process.stderr
    assert "has changed since" not in run_it(method, "force=true").stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: norm\n", "", "pruner.name is missing: expected it in the file of conf/pruner"),
        ("_target_: norm_pruner.Norm\n", "", "pruner._target_ is missing"),
        ("p: 2.0", "p: 2.0\nq: 1", "unexpected keyword argument 'q'"),
        ("norm_pruner", "no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_mistakes_in_a_new_methods_config_are_one_sentence(method, old, new, said):
    method.config.write_text(method.config.read_text().replace(old, new))
    process = run_it(method)
    assert process.returncode == 2
    assert said in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("visual.projected", r"Norm scored \(1, 576, 128\), not \(1, 576\)"),
        ("visual.projected[0, :, 0]", r"Norm scored \(576,\), not \(1, 576\)"),
    ],
)
def test_scores_that_do_not_fit_are_told_by_their_shape(method, body, said):
    code = re.sub(r"return visual.*", f"return {body}", method.file.read_text())
    method.file.write_text(code)
    process = run_it(method)
    assert process.returncode != 0
    assert re.search(said, process.stderr)

"""Choosing runs by name: what a message says about a name that no run has."""

from __future__ import annotations

import argparse

import pytest
from made_runs import save_run

from script_exp.analysis.filters import add_filters, chosen, only
from script_exp.errors import UserError
from script_exp.results.read import load_runs


@pytest.fixture
def runs(tmp_path):
    """fastv was run with another model than script, and on another benchmark."""
    save_run(tmp_path, "none", None, [1.0], benchmark="gqa")
    save_run(tmp_path, "script", 64, [1.0], benchmark="gqa")
    save_run(tmp_path, "fastv", 32, [1.0], benchmark="pope", model="other")
    return load_runs(tmp_path).frame


def given(*options):
    parser = argparse.ArgumentParser()
    add_filters(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model=tniy"], "--model=tniy: expected one with a finished run: other, tiny"),
        (
            ["--model=tiny", "--benchmark=pope"],
            "--benchmark=pope: expected one with a finished run of --model=tiny: gqa",
        ),
        (
            ["--model=tiny", "--benchmark=gqa", "--pruner=fastv"],
            "--pruner=fastv: expected one with a finished run of --model=tiny --benchmark=gqa: none, script",
        ),
        (
            ["--pruner=script,none", "--budget=32"],
            "--budget=32: expected one with a finished run of --pruner=script,none: 64",
        ),
        (
            ["--pruner=none", "--budget=64"],
            "--budget=64: expected one with a finished run of --pruner=none: there is none",
        ),
    ],
)
def test_a_name_that_no_run_has_names_the_runs_that_were_searched(runs, options, message):
    """The name may well have runs, of another model."""
    with pytest.raises(UserError) as caught:
        chosen(runs, given(*options))
    assert str(caught.value) == message


def test_a_notebook_gives_no_options(runs):
    with pytest.raises(UserError) as caught:
        only(runs, "benchmark", ["shapes"])
    assert str(caught.value) == "benchmark=shapes: expected one with a finished run: gqa, pope"


def test_no_runs_at_all(tmp_path):
    with pytest.raises(UserError, match=r"^model=tiny: expected one with a finished run: there is none$"):
        only(load_runs(tmp_path).frame, "model", ["tiny"])

"""The tables of ``runners/score.py`` and ``runners/data.py``, and that of a sweep, when they are piped."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import save_run

from script_exp.sweeps.record import CellState
from script_exp.sweeps.table import print_results
from script_exp.upkeep.report import print_rescored
from script_exp.upkeep.rescore import Rescored

LONG = "-".join(["a", "folder", "that", "is", "very", "long"] * 8)


@pytest.fixture(autouse=True)
def piped(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def test_paths_of_rescored_runs_are_whole_when_piped(capsys):
    paths = [Path("/data") / LONG / f"script-64-s{seed}" for seed in range(2)]
    accuracy = {"scale": 100, "value": 0.5, "ci95": [0.4, 0.6]}
    changed = Rescored(paths[0], accuracy, accuracy | {"value": 0.6}, answers=12, scores=1, changed=True)
    print_rescored([changed, Rescored(paths[1], accuracy, accuracy)], dry_run=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [str(paths[0]), "would", "change", "50.00", "[40.0,", "60.0]", "60.00", "[40.0,", "60.0]", "12",
            "1"] in lines  # fmt: skip
    assert [str(paths[1]), "unchanged", "50.00", "[40.0,", "60.0]"] in lines


def test_methods_of_a_sweep_are_whole_when_piped(tmp_path, capsys):
    variant = ", ".join(f"setting_{number}=a_long_value" for number in range(6))
    run_dir = save_run(tmp_path, "script", 64, [1.0, 0.0], variant=variant)
    print_results([CellState([], "finished", run_dir=run_dir)])
    assert f"│ script ({variant}) │" in capsys.readouterr().out


def test_a_sweep_shows_what_was_asked_for(tmp_path, capsys):
    """Random weights have no accuracy, and latency=off no speed-up; the unpruned run has no budget."""
    cells = [
        CellState(
            [],
            "finished",
            run_dir=save_run(tmp_path, pruner, budget, [1.0, 0.0], weights="random", latency=None),
        )
        for pruner, budget in (("none", None), ("script", 64))
    ]
    print_results(cells)
    assert columns(capsys) == ["method", "budget", "tokens"]
    print_results(cells[:1])
    assert columns(capsys) == ["method", "tokens"]
    timed = save_run(tmp_path, "script", 32, [1.0, 0.0], weights="random")
    print_results([*cells, CellState([], "finished", run_dir=timed)])
    assert columns(capsys) == ["method", "budget", "tokens", "prefill speed-up"]


def columns(capsys):
    head = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("┃"))
    return [name.strip() for name in head.strip("┃").split("┃")]

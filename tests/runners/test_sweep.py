"""Sweeps without SLURM: local processes, signals, and the final report."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from commands import answers, result, run_dirs, wait_until
from processes import ROOT, run, start
from troubled import WITH_TROUBLE
from wandb_log import read_wandb

from script_exp.config import command_line
from script_exp.errors import UserError

QUICK = ["latency=off", "unpruned=off", "batch_size=2", "benchmark.scenes=2"]
LOCAL = ["hydra/launcher=local_processes", "hydra.launcher.processes=2"]


@pytest.mark.parametrize("launcher", [[], pytest.param(LOCAL, marks=pytest.mark.slow)])
def test_every_failure_is_named_and_the_others_finish(tmp_path, launcher):
    trouble = "raise,none" if not launcher else "exit,raise,none"
    process = run(
        "-m", *QUICK, *launcher, "limit=6", "pruner=random", "budget=600,16", WITH_TROUBLE,
        f"+benchmark.trouble={trouble}", f"outputs={tmp_path}",
    )  # fmt: skip
    assert process.returncode == 1
    summary = process.stderr[process.stderr.index("sweep ") :]
    cells = 2 * len(trouble.split(","))
    assert f"1 of {cells} cells finished" in summary
    assert f"invalid: {cells // 2} cells: budget=600: expected at most 576, the number of" in summary
    named = [line.split(": ") for line in summary.splitlines() if ": " in line and "trouble=" in line]
    assert len(named) == cells // 2 - 1
    reasons = {(state, words[-1]) for state, *words in named}
    expected = {("failed", "out of luck")}
    if launcher:
        (died,) = reasons - expected
        assert died[0] == "stopped"
        assert died[1].endswith("ended without recording why")
    else:
        assert reasons == expected


@pytest.mark.slow
def test_local_processes_give_what_one_process_gives(tmp_path):
    cells = ["pruner=none,graph", "limit=4", *QUICK]
    one = run("-m", *cells, f"outputs={tmp_path / 'one'}")
    local = run("-m", *cells, *LOCAL, f"outputs={tmp_path / 'local'}")
    assert (one.returncode, local.returncode) == (0, 0), local.stderr
    expected, found = run_dirs(tmp_path / "one"), run_dirs(tmp_path / "local")
    assert expected.keys() == found.keys() == {"none-s0", "graph-64-s0"}
    for name in expected:
        assert answers(found[name]) == answers(expected[name])
        assert result(found[name]) == result(expected[name])


@pytest.mark.slow
def test_each_local_process_sees_one_gpu_and_its_share_of_the_cores(tmp_path, monkeypatch):
    """Checked by what the processes were given; no GPU is needed for that. One W&B service is for all."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    (tmp_path / "sees.py").write_text(
        "import os\n"
        "from dataclasses import dataclass\n"
        "from script_exp.benchmarks.shapes import Shapes\n"
        "@dataclass\n"
        "class Sees(Shapes):\n"
        "    def parse(self, sample, prediction):\n"
        "        return os.environ['CUDA_VISIBLE_DEVICES'] + '/' + os.environ['OMP_NUM_THREADS'] \\\n"
        "            + '/' + os.environ['WANDB_SERVICE']\n"
    )
    process = run(
        "-m", *QUICK, LOCAL[0], "hydra.launcher.gpus=[2,5]", "device=cpu", "limit=2",
        "pruner=random", "seed=0,1", "benchmark._target_=sees.Sees", f"outputs={tmp_path / 'outputs'}",
        "tracker.mode=offline",
        PYTHONPATH=f"{ROOT}:{tmp_path}",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found = run_dirs(tmp_path / "outputs").values()
    seen = {tuple(record["answer"].split("/", 2)) for path in found for record in answers(path)}
    assert {given[:2] for given in seen} == {("2", "1"), ("5", "1")}
    assert len({service for _, _, service in seen}) == 1
    logs = [read_wandb(next(path.rglob("*.wandb"))) for path in found]
    assert [log.exit_code for log in logs] == [0, 0]
    assert len({log.group for log in logs}) == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert f"send with: xargs wandb sync < {sweep / 'wandb.txt'}" in process.stderr
    sent = {Path(line).parents[1] for line in (sweep / "wandb.txt").read_text().splitlines()}
    assert sent == {path.resolve() for path in found}


def test_local_processes_need_a_number_without_gpu(tmp_path):
    process = run(
        "-m", *QUICK, LOCAL[0], "seed=0,1", f"outputs={tmp_path}",
        CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    assert process.returncode == 2
    assert "error: hydra.launcher.processes=None: expected a whole number >= 1" in process.stderr


def test_a_launcher_that_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    for launcher in ("slurm", "slurm_two_gpus", "local_processes"):
        with pytest.raises(UserError, match=r"pip install -e '.\[slurm\]'"):
            command_line.check_arguments(["-m", f"hydra/launcher={launcher}"])
    command_line.check_arguments(["-m", "hydra/launcher=basic"])


def test_ctrl_c_in_a_sweep_ends_with_the_summary(tmp_path):
    cells = ["-m", "pruner=random", "budget=64,32,16", "limit=12", WITH_TROUBLE, *QUICK]
    stuck = tmp_path / "stuck"
    process = start(tmp_path / "errors", *cells, f"+benchmark.stuck={stuck}", f"outputs={tmp_path}")
    wait_until(stuck.exists)
    os.kill(process.process.pid, signal.SIGINT)
    assert process.wait() == 130
    errors = process.text()
    lines = errors[errors.index("interrupted; repeat the command to resume") :].splitlines()
    assert lines[1].endswith(": 0 of 3 cells finished")
    assert lines[2].startswith("interrupted: pruner=random budget=64")
    assert "missing: 2 cells: it never started" in lines
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="SIGUSR2")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_leaves_a_run_that_goes_on(tmp_path, number):
    cell = ["pruner=random", "limit=12", WITH_TROUBLE, *QUICK]
    stuck = tmp_path / "stuck"
    slow = [*cell, f"+benchmark.stuck={stuck}", f"outputs={tmp_path / 'slow'}"]
    process = start(tmp_path / "errors", *slow)
    wait_until(stuck.exists)
    (run_dir,) = run_dirs(tmp_path / "slow").values()
    os.kill(process.process.pid, number)
    assert process.wait() == 128 + number
    assert process.text().splitlines()[-1] == f"ended by {number.name}; repeat the command to resume"
    status = json.loads((run_dir / "status.json").read_text())
    assert (status["state"], status["why"]) == ("interrupted", f"Terminated: {number.name}")
    before = answers(run_dir)
    assert 2 <= len(before) < 12
    states = run(tmp_path / "slow", script="runners/status.py")
    assert states.returncode == 1
    assert "1 interrupted" in states.stdout
    assert run(*slow).returncode == 0
    assert answers(run_dir)[: len(before)] == before
    assert run(*cell, f"outputs={tmp_path / 'whole'}").returncode == 0
    (whole,) = run_dirs(tmp_path / "whole").values()
    assert answers(run_dir) == answers(whole)
    assert result(run_dir) == result(whole)

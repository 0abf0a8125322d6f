"""Sweeps on a real SLURM: the same results as without it, and which failures they survive."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from commands import answered, answers, result, run_dirs, start, wait_until
from processes import ROOT, run, search_path
from troubled import WITH_TROUBLE

SCRIPT = Path(__file__).with_name("cluster.sh")
LAUNCHER = [
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=null",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
]
QUICK = ["latency=off", "batch_size=2", "benchmark.scenes=10"]


@pytest.fixture(scope="module")
def slurm():
    """A real SLURM of one machine; the environment of a process that submits to it."""
    if shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
        missing = "needs munge, slurmctld, slurmd and slurm-client (Debian)"
        if os.environ.get("SLURM_TESTS") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # munged refuses pytest's private folders
    folder.chmod(0o755)
    subprocess.run([SCRIPT, "start", folder], check=True)
    try:
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(*arguments, env):
    return run("-m", *arguments, *LAUNCHER, *QUICK, **env)


def signal_job(run_dir, env):
    """What SLURM sends before it takes a node away."""
    job = json.loads((run_dir / "status.json").read_text())["job"]
    subprocess.run(["scancel", "--signal", "USR2", job], check=True, env={**os.environ, **env})


def test_an_array_gives_what_one_process_gives(slurm, tmp_path):
    cells = ["pruner=none,graph,script", "limit=6"]
    one = run("-m", *cells, *QUICK, f"outputs={tmp_path / 'one'}")
    array = sweep(*cells, f"outputs={tmp_path / 'array'}", env=slurm)
    assert (one.returncode, array.returncode) == (0, 0), array.stderr
    assert "3 of 3 cells finished" in array.stderr
    expected, found = run_dirs(tmp_path / "one"), run_dirs(tmp_path / "array")
    assert expected.keys() == found.keys() == {"none-s0", "graph-64-s0", "script-64-s0"}
    for name in expected:
        assert found[name].name == expected[name].name
        assert answers(found[name]) == answers(expected[name])
        assert result(found[name]) == result(expected[name])
        assert "_" in json.loads((found[name] / "status.json").read_text())["job"]


@pytest.mark.slow
def test_a_sweep_larger_than_the_largest_array_from_inside_of_a_job(slurm, tmp_path):
    """Four cells, of arrays of at most three; the command runs in a job with other resources than theirs."""
    command = [
        sys.executable, ROOT / "runners" / "run.py", "-m", "pruner=random", "budget=8,16,32,64", "limit=2",
        *LAUNCHER, *QUICK, "unpruned=off", f"outputs={tmp_path / 'outputs'}",
    ]  # fmt: skip
    wrapped = f"PYTHONPATH={search_path()} {shlex.join(map(str, command))}"
    out = tmp_path / "out"
    asked = ["sbatch", "-W", "-o", out, "--mem-per-cpu=700", "-c", "1", "--wrap", wrapped]
    process = subprocess.run(asked, env={**os.environ, **slurm}, cwd=ROOT, check=False)
    assert process.returncode == 0, out.read_text()
    assert "4 of 4 cells finished" in out.read_text()
    jobs = {job["job"].split("_")[0] for job in map(_status, run_dirs(tmp_path / "outputs").values())}
    assert len(jobs) == 2


def test_jobs_that_slurm_refuses_are_named(slurm, tmp_path):
    process = sweep(
        "pruner=random", "budget=8,16", "hydra.launcher.partition=nowhere", f"outputs={tmp_path}", env=slurm
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    reason = "failed: 2 cells: sbatch refused its job: Batch job submission failed: Invalid partition name"
    assert reason in process.stderr


def _status(run_dir):
    return json.loads((run_dir / "status.json").read_text())


@pytest.mark.slow
def test_jobs_that_raise_or_die_are_named_and_the_others_finish(slurm, tmp_path):
    """The one that dies comes first: submitit's own launcher would leave the others at that."""
    trouble = ["pruner=random", WITH_TROUBLE, "+benchmark.trouble=exit,raise,none", "limit=6"]
    process = sweep(*trouble, f"outputs={tmp_path}", env=slurm)
    assert process.returncode == 1
    summary = process.stderr[process.stderr.index("sweep ") :].splitlines()
    assert "1 of 3 cells finished" in summary[0]
    named = {line.split(":")[0]: line for line in summary if "+benchmark.trouble=" in line}
    assert named.keys() == {"stopped", "failed"}
    assert "trouble=exit" in named["stopped"]
    assert "ended without recording why" in named["stopped"]
    assert "trouble=raise" in named["failed"]
    assert "RuntimeError: out of luck" in named["failed"]
    states = run(tmp_path, script="runners/status.py")
    assert states.returncode == 1
    assert "1 finished, 1 stopped, 1 failed" in states.stdout


@pytest.mark.slow
def test_a_preempted_job_goes_on_by_itself(slurm, tmp_path):
    whole = run("-m", "pruner=random", WITH_TROUBLE, "limit=24", *QUICK, f"outputs={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    slow = ["pruner=random", WITH_TROUBLE, "+benchmark.seconds=0.3", "limit=24"]
    outputs = tmp_path / "preempted"
    timeout = "hydra.launcher.timeout_min=30"  # below 11 submitit takes every signal for a time-out
    process = start(
        "runners/run.py", "-m", *slow, *LAUNCHER, *QUICK, timeout, f"outputs={outputs}", env=slurm
    )
    run_dir = wait_until(lambda: answered(outputs, 4), process)
    signal_job(run_dir, slurm)
    wait_until(lambda: json.loads((run_dir / "status.json").read_text())["state"] == "interrupted")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "1 of 1 cells finished" in errors
    (expected,) = run_dirs(tmp_path / "whole").values()
    assert answers(run_dir) == answers(expected)
    assert result(run_dir) == result(expected)
    assert len(json.loads((run_dir / "provenance.json").read_text())) == 2
    assert "0 of 24 samples already answered" in (log := (run_dir / "run.log").read_text())
    assert log.count("samples already answered") == 2


@pytest.mark.slow
def test_a_job_that_timed_out_too_often_is_named(slurm, tmp_path):
    slow = ["pruner=random", WITH_TROUBLE, "+benchmark.seconds=0.5", "limit=60"]
    limits = ["hydra.launcher.timeout_min=5", "hydra.launcher.max_num_timeout=0"]
    process = start(
        "runners/run.py", "-m", *slow, *LAUNCHER, *QUICK, *limits, f"outputs={tmp_path}", env=slurm
    )
    run_dir = wait_until(lambda: answered(tmp_path, 2), process)
    signal_job(run_dir, slurm)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "0 of 1 cells finished" in errors
    assert "failed: pruner=random" in errors
    assert "timed-out too many times" in errors


@pytest.mark.slow
def test_a_job_over_its_time_limit_is_queued_again_and_goes_on(slurm, tmp_path):
    """A real limit, of three minutes: loading takes one of them when other tests run beside it."""
    stuck = ["pruner=random", WITH_TROUBLE, f"+benchmark.stuck={tmp_path / 'stuck'}", "limit=10"]
    limits = ["hydra.launcher.timeout_min=3", "hydra.launcher.signal_delay_s=20"]
    process = sweep(*stuck, *limits, f"outputs={tmp_path}", env=slurm)
    assert process.returncode == 0, process.stderr
    (run_dir,) = run_dirs(tmp_path).values()
    assert len(json.loads((run_dir / "provenance.json").read_text())) >= 2
    ids = [record["id"] for record in answers(run_dir)]
    assert len(ids) == len(set(ids)) == 10

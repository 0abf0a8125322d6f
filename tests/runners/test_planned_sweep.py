"""A sweep plans first: distinct cells, those with work left, one table at the end."""

from __future__ import annotations

import json
import os

import pytest
from commands import run_dirs
from processes import run, start

QUICK = ["latency=off", "unpruned=off", "benchmark.scenes=1", "limit=2"]
LOCAL = ["hydra/launcher=local_processes", "hydra.launcher.processes=2"]


def summary(process):
    return process.stderr[process.stderr.index("sweep ") :].splitlines()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    process = run("-m", *QUICK, "pruner=none,random", "budget=64,32", f"outputs={folder}")
    assert process.returncode == 0, process.stderr
    return folder, process


def jobs(outputs):
    """The numbers of the jobs of each sweep, in the order of time."""
    return [
        sorted(int(file.stem) for file in sweep.glob("cells/*.json"))
        for sweep in sorted((outputs / "sweeps").iterdir())
    ]


def test_the_summary_counts_distinct_cells(outputs):
    folder, process = outputs
    assert summary(process)[0].endswith("3 of 3 cells finished")
    assert jobs(folder)[0] == [0, 1, 2]


def test_the_table_at_the_end(outputs):
    lines = outputs[1].stdout.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("┃ method"))
    table = [[word.strip() for word in line.split("│")[1:-1]] for line in lines[start:] if "│" in line]
    assert [row[:2] + row[3:] for row in table] == [
        ["none", "-", "576"],
        ["random", "64", "64"],
        ["random", "32", "32"],
    ]  # fmt: skip
    assert lines[start].strip("┃ ").split(" ┃ ") == ["method", "budget", "accuracy", "tokens"]  # latency=off
    assert "* partial: limit is set" in lines[-1]


@pytest.mark.parametrize(
    ("launcher", "pruners", "count"),
    [
        pytest.param([], "none,random,graph", 7, id="one process"),
        pytest.param(LOCAL, "none,graph", 3, id="local processes", marks=pytest.mark.slow),
    ],
)
def test_only_cells_with_work_left_are_launched(outputs, launcher, pruners, count):
    folder, _ = outputs
    before = len(jobs(folder))
    new = 8 if launcher else 16
    more = [f"pruner={pruners}", f"budget=64,{new}", "seed=0,1", f"outputs={folder}"]
    process = run("-m", *QUICK, *more, *launcher)
    assert process.returncode == 0, process.stderr
    found = summary(process)[0]
    assert f"of {count} cells finished (" in found
    planned = json.loads((sorted((folder / "sweeps").iterdir())[-1] / "planned.json").read_text())
    work = [cell["overrides"] for cell in planned if cell["state"] == "missing"]
    assert len(planned) == count
    assert jobs(folder)[before] == list(range(len(work)))
    assert all("pruner=none" not in cell for cell in work)
    again = run("-m", *QUICK, *more, *launcher)
    assert again.returncode == 0, again.stderr
    assert summary(again)[0].endswith(f"{count} of {count} cells finished ({count} were finished before)")
    assert f"{count} cells, {count} of them finished already, 0 to run" in again.stderr
    assert jobs(folder)[-1] == []
    assert not (sorted((folder / "sweeps").iterdir())[-1] / "jobs").exists()


def test_latency_that_is_missing_is_work_left(outputs):
    folder, _ = outputs
    cells = ["-m", *QUICK, "latency=on", "pruner=none,random", f"outputs={folder}", "unpruned=read"]
    process = run(*cells)
    assert process.returncode == 0, process.stderr
    assert "2 cells, 0 of them finished already, 2 to run" in process.stderr
    assert "prefill speed-up" in process.stdout
    assert "2 of 2 cells finished (2 were finished before)" in run(*cells).stderr


def test_wrong_cells_are_named_once_per_reason(tmp_path):
    process = run("-m", *QUICK, "pruner=random", "budget=600", "seed=range(0,12)", f"outputs={tmp_path}")
    assert process.returncode == 1
    reason = "budget=600: expected at most 576, the number of visual tokens of one crop"
    assert process.stderr.count(f"error: {reason}") == 1
    lines = summary(process)
    assert lines[0].endswith("0 of 12 cells finished")
    assert lines[1] == f"invalid: 12 cells: {reason}"
    assert "seed=4" in lines[6]
    assert lines[7] == "    and 7 more"
    assert not run_dirs(tmp_path)
    assert jobs(tmp_path) == [[]]


def test_a_sweep_over_outputs(tmp_path):
    """The plan lies in the first folder, and all cells find it there."""
    folders = [tmp_path / "a b", tmp_path / "c"]
    swept = f"outputs='{folders[0]}',{folders[1]}"
    process = run("-m", *QUICK, "pruner=random", "budget=9999,16", swept)
    assert process.returncode == 1
    assert "2 of 4 cells finished" in process.stderr
    assert [len(run_dirs(folder)) for folder in folders] == [1, 1]
    assert jobs(folders[0]) == [[0, 1]]
    assert not (folders[1] / "sweeps").exists()


def test_shards_are_jobs_of_their_own(tmp_path):
    process = run("-m", "latency=off", "unpruned=off", "benchmark.scenes=1", "limit=4", "batch_size=1",
                  "pruner=random", "shards=2", "shard=0,1", f"outputs={tmp_path}")  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 of 2 cells finished" in process.stderr
    (result,) = tmp_path.glob("tiny/shapes/*/result.json")
    assert json.loads(result.read_text())["accuracy"]["n"] == 4


def test_a_full_disk_ends_with_the_summary(tmp_path):
    """Nothing can be written from the second write of a cell's note on."""
    setup = (
        "import script_exp.results.files as files\n"
        "whole = files.write_atomically\n"
        "def write(path, contents):\n"
        "    if 'planned' not in path.name and path.suffix == '.json':\n"
        "        raise files.UserError(f'cannot write {path} (No space left on device)')\n"
        "    whole(path, contents)\n"
        "files.write_atomically = write\n"
    )
    arguments = ["-m", *QUICK, "pruner=random", "budget=16,8", f"outputs={tmp_path / 'outputs'}"]
    process = start(tmp_path / "out", *arguments, setup=setup)
    assert process.wait() == 1
    text = process.text()
    assert "Traceback" not in text
    assert "0 of 2 cells finished" in text
    assert text.count("failed: ") == 2
    assert "No space left on device" in text[text.index("failed: ") :]


def test_a_disk_that_is_full_before_the_plan(tmp_path):
    setup = (
        "import script_exp.sweeps.plan as plan\n"
        "def write(path, contents):\n"
        "    raise plan.UserError(f'cannot write {path} (No space left on device)')\n"
        "plan.write_atomically = write\n"
    )
    process = start(tmp_path / "out", "-m", *QUICK, f"outputs={tmp_path / 'outputs'}", setup=setup)
    assert process.wait() == 2
    (line,) = process.text().splitlines()
    assert line.startswith("error: cannot write ")


def test_slurm_that_is_not_installed(tmp_path):
    process = run("-m", *QUICK, "hydra/launcher=slurm", f"outputs={tmp_path / 'outputs'}", PATH="/nowhere")
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(
        "error: hydra/launcher=slurm: there is no sbatch on this"
    )
    assert not (tmp_path / "outputs").exists()


def test_an_array_that_slurm_refuses_as_too_large(tmp_path):
    """A cluster that does not tell its limit; the real one is in tests/slurm."""
    commands = {
        "sbatch": "echo 'sbatch: error: Batch job submission failed: Invalid job array specification' >&2",
        "scontrol": "echo 'Unable to contact slurm controller' >&2",
        "srun": "",
    }
    for name, script in commands.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\nexit 1\n")
        file.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    given = ["pruner=random", "budget=8,16", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null"]
    process = run("-m", *QUICK, *given, f"outputs={tmp_path / 'outputs'}", PATH=path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert summary(process)[1] == (
        "failed: 2 cells: sbatch refused its job: Batch job submission failed: Invalid job array "
        "specification; the cluster's arrays are smaller (MaxArraySize in scontrol show config): sweep over "
        "fewer cells at a time"
    )

"""The state of a run, from its directory."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sample_record import RECORD

from script_exp.results import heartbeat
from script_exp.results.heartbeat import SILENT_AFTER_S, Heartbeat, slurm_job
from script_exp.results.run_directory import RunDirectory
from script_exp.results.state import last_lines, read_state, read_states


@pytest.fixture
def directory(tmp_path):
    with RunDirectory(tmp_path / "tiny" / "shapes" / "script-64-s0-abc") as opened:
        opened.start("budget: 64\n", {}, {"host": "here"})
        yield opened


def rewrite(directory, **changes):
    status = json.loads(directory.status_file.read_text())
    directory.status_file.write_text(json.dumps({**status, **changes}))


def test_loading_then_answering(directory):
    state = read_state(directory.path)
    assert (state.state, state.done, state.seconds_left) == ("running", None, None)
    assert (state.host, state.pid) == (platform.node(), os.getpid())
    directory.append([RECORD])
    directory.set_progress(before=1, total=10)
    assert read_state(directory.path).rate is None  # nothing answered by this process yet
    directory.append([replace(RECORD, id=name) for name in "bcd"])
    rewrite(directory, progress={"before": 1, "total": 10, "since": "2020-01-01T00:00:00+00:00"})
    state = read_state(directory.path)
    assert (state.done, state.total) == (4, 10)
    assert state.seconds_left == pytest.approx(6 * (time.time() - 1577836800) / 3, rel=0.01)


def test_a_clock_that_jumped_back_gives_no_rate(directory):
    directory.append([RECORD])
    directory.set_progress(before=0, total=10)
    rewrite(directory, progress={"before": 0, "total": 10, "since": "2100-01-01T00:00:00+00:00"})
    assert read_state(directory.path).rate is None


def test_a_process_that_died_here(directory):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    rewrite(directory, pid=dead.pid)
    state = read_state(directory.path)
    assert state.state == "stopped"
    assert state.why == f"process {dead.pid} on {platform.node()} ended without recording why"


def test_a_process_that_fell_silent_elsewhere(directory):
    rewrite(directory, host="node17", pid=1)
    assert read_state(directory.path).state == "running"
    old = time.time() - SILENT_AFTER_S - 60
    os.utime(directory.status_file, (old, old))
    state = read_state(directory.path)
    assert state.state == "stopped"
    assert state.why == "no sign of life from process 1 on node17 for 6 minutes"


def test_the_heartbeat_is_a_sign_of_life(directory, monkeypatch):
    monkeypatch.setattr(heartbeat, "PERIOD_S", 0.01)
    os.utime(directory.status_file, (0, 0))
    with Heartbeat(directory.status_file):
        while directory.status_file.stat().st_mtime == 0:
            time.sleep(0.01)
    assert read_state(directory.path).state == "running"
    with Heartbeat(directory.path / "missing"):
        pass


def test_failed_interrupted_damaged_and_finished(directory):
    for state in ("failed", "interrupted"):
        directory.set_status(state, "RuntimeError: out of luck")
        assert (read_state(directory.path).state, read_state(directory.path).why) == (
            state, "RuntimeError: out of luck",
        )  # fmt: skip
    directory.set_status("running")
    directory.result_file.write_text("not read")
    rewrite(directory, pid=2**22 + 1)  # it died between the result and the last status
    assert read_state(directory.path).state == "finished"
    directory.status_file.write_text("{")
    assert read_state(directory.path).state == "damaged"
    directory.status_file.unlink()
    assert read_state(directory.path) is None


def test_all_runs_with_the_shards_of_unfinished_ones(directory, tmp_path):
    with RunDirectory(directory.path / "shards" / "1-of-2") as shard:
        shard.start("shard: 1\n", {}, {"host": "here"})
    assert [state.path.name for state in read_states(tmp_path)] == ["script-64-s0-abc", "1-of-2"]
    directory.result_file.touch()
    assert [state.path.name for state in read_states(tmp_path)] == ["script-64-s0-abc"]


def test_a_run_of_which_not_all_shards_are_answered(tmp_path):
    run = tmp_path / "tiny" / "shapes" / "script-64-s0-abc"
    for number, whole in ((1, "unfinished shards (of 3): 0, 2"), (0, "(of 3): 2"), (2, "not merged")):
        with RunDirectory(run / "shards" / f"{number}-of-3") as shard:
            shard.start("shard: 1\n", {}, {"host": "here"})
            assert next(read_states(tmp_path)).path.name != run.name  # it is at work
            shard.set_status("finished")
        state = next(read_states(tmp_path))
        assert (state.path, state.state) == (run, "stopped")
        assert whole in state.why


def test_the_last_lines_of_the_log(directory):
    assert last_lines(directory.path) == []
    (directory.path / "run.log").write_text("".join(f"line {number}\n" for number in range(5000)) + "\n")
    assert last_lines(directory.path, 2) == ["line 4998", "line 4999"]


def test_slurms_id(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "14")
    assert slurm_job() == "14"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "13")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert slurm_job() == "13_0"

"""Determine the state of a run from its directory, without parsing its samples or its result."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.checked import problem_of
from script_exp.results.files import read_json
from script_exp.results.heartbeat import SILENT_AFTER_S
from script_exp.results.run_directory import SHARDS

_SHARD = re.compile(r"\d+-of-\d+")


_STATES = ("running", "finished", "interrupted", "failed")


@dataclass(frozen=True)
class _Progress:
    """``progress`` of ``status.json``: answered samples at the start, all samples, and the start, UTC."""

    before: int
    total: int
    since: str


@dataclass(frozen=True)
class _Status:
    """The contents of ``status.json``."""

    state: str
    why: str | None
    host: str | None = None
    pid: int | None = None
    job: str | None = None
    progress: _Progress | None = None


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        path: the run directory.
        state: ``finished``; ``running``; ``stopped`` (its process died or was killed); ``interrupted`` (by a
            signal, after cleaning up); ``failed``; ``damaged``. All but the first two resume when started
            again.
        why: the reason, unless it is finished or running.
        host, pid, job: the process that runs or ran it; ``job`` is SLURM's id, or None.
        done, total: answered samples and all samples; None unless it is running.
        rate: samples per second of the current process; None before its first sample.
    """

    path: Path
    state: str
    why: str | None = None
    host: str | None = None
    pid: int | None = None
    job: str | None = None
    done: int | None = None
    total: int | None = None
    rate: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last sample is answered, without the latency pass."""
        if self.done is None or self.total is None or not self.rate:
            return None
        return (self.total - self.done) / self.rate


def read_states(outputs: Path) -> Iterator[RunState]:
    """Yield all runs in ``outputs/<model>/<benchmark>``, and the shards of unfinished ones."""
    for path in sorted(outputs.glob("*/*/*/")):
        state = read_state(path) or read_split(path)
        if state is not None:
            yield state
        if state is None or state.state != "finished":
            yield from read_shards(path)


def read_split(run_dir: Path) -> RunState | None:
    """Return the state of a run that has only shards, none of them running; None for any other run."""
    shards = list(read_shards(run_dir))
    if not shards or any(shard.state == "running" for shard in shards):
        return None
    count = int(shards[0].path.name.rpartition("-")[2])
    there = {int(shard.path.name.partition("-")[0]) for shard in shards if shard.state == "finished"}
    lacking = [str(number) for number in range(count) if number not in there]
    why = f"unfinished shards (of {count}): {', '.join(lacking)}"
    if not lacking:
        why = "all shards are finished, but not merged"
    return RunState(run_dir, "stopped", why, host=shards[0].host)


def read_shards(run_dir: Path) -> Iterator[RunState]:
    """Yield the states of a run's shards, if it has any."""
    for shard in sorted(run_dir.glob(f"{SHARDS}/*-of-*/")):
        if _SHARD.fullmatch(shard.name) and (state := read_state(shard)) is not None:
            yield state


def read_state(run_dir: Path) -> RunState | None:
    """Return the state of a run; None if there is no run."""
    file = run_dir / "status.json"
    try:
        status, touched = read_json(file, "remove this file, then repeat the command"), file.stat().st_mtime
    except FileNotFoundError:
        return None
    except UserError as error:
        return RunState(run_dir, "damaged", str(error))
    problem = problem_of(status, _Status)
    if problem is None and status["state"] not in _STATES:
        problem = f"state={status['state']}: expected one of {', '.join(_STATES)}"
    if problem is not None:
        return RunState(run_dir, "damaged", f"{file} is damaged ({problem})")
    state, owner = status["state"], {key: status.get(key) for key in ("host", "pid", "job")}
    if state == "failed" or state == "interrupted":
        return RunState(run_dir, state, status["why"], **owner)
    is_shard = run_dir.parent.name == SHARDS  # a shard has no result of its own
    if (run_dir / "result.json").is_file() or (is_shard and state == "finished"):
        return RunState(run_dir, "finished", **owner)
    if owner["host"] is None or owner["pid"] is None:
        return RunState(run_dir, "damaged", f"{file} does not name the process that runs it")
    silence = _silence(owner["host"], owner["pid"], touched)
    if silence is not None:
        return RunState(run_dir, "stopped", silence, **owner)
    return RunState(run_dir, "running", **owner, **_progress(run_dir, status))


def _silence(host: str, pid: int, touched: float) -> str | None:
    """Return why the owner is considered dead, or None."""
    owner = f"process {pid} on {host}"
    if host == platform.node() and not _is_alive(pid):
        return f"{owner} ended without recording why"
    age = time.time() - touched
    return f"no sign of life from {owner} for {age / 60:.0f} minutes" if age > SILENT_AFTER_S else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    except OverflowError:  # no number of a process
        return False
    return True


def _progress(run_dir: Path, status: dict[str, Any]) -> dict[str, Any]:
    """Return the samples answered so far and the speed of the current process."""
    progress = status.get("progress")
    if progress is None:  # the model is being loaded
        return {}
    samples = run_dir / "samples.jsonl"
    done = samples.read_bytes().count(b"\n") if samples.is_file() else 0
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(progress["since"])).total_seconds()
    except (ValueError, TypeError):  # a damaged time, or one without its zone
        seconds = 0.0
    answered = done - progress["before"]
    rate = answered / seconds if answered > 0 and seconds > 0 else None
    return {"done": done, "total": progress["total"], "rate": rate}


def last_lines(run_dir: Path, count: int = 3) -> list[str]:
    """Return the last lines of ``run.log``."""
    log = run_dir / "run.log"
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]

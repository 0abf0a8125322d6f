"""The directory of one run. Its name contains the run's identity, and its files suffice to resume the run.

config.yaml     the resolved settings
identity.json   every setting that can change a result; their hash is in the name
status.json     running / finished / interrupted / failed and why; the process that works on it, since when
provenance.json code, versions and machine of every process that worked on it
samples.jsonl   one line per answered sample, appended and flushed
skipped.jsonl   skipped samples (benchmark.on_error=skip), and why; only if there are any
result.json     written once, at the end, atomically
run.log         the log
shards/         directories of the shards, with the same files except result.json
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from script_exp.errors import UserError
from script_exp.results.files import append, read_bytes, read_json, writable, write_atomically, write_json
from script_exp.results.heartbeat import slurm_job
from script_exp.results.record import RunResult, SampleRecord
from script_exp.results.record_file import read_records, read_skipped
from script_exp.results.result_file import read_result
from script_exp.results.run_identity import identity_hash

REPLACED = "replaced"
"""Folder in ``outputs`` for runs that were started over."""
SHARDS = "shards"
"""Folder in a run directory for the directories of its shards."""
REMEDY = "remove the folder to run this cell again"
LET_GO_S = 30
"""Seconds that a process may take to release the lock after its last write to a directory."""


class RunIsBusyError(UserError):
    """Another process is running this cell."""


class RunDirectory:
    """The files of one run; as a context manager, it holds the lock.

    A finished run that cannot be written to is entered without the lock; it can be read.

    Args:
        path: the directory; created on entry.
        patience: seconds to wait for another process to release the lock.
    """

    def __init__(self, path: Path, patience: float = 0) -> None:
        self.path, self._patience = path, patience
        self.samples_file = path / "samples.jsonl"
        self.result_file = path / "result.json"
        self.skipped_file = path / "skipped.jsonl"
        self.status_file = path / "status.json"
        self._lock = FileLock(path / ".lock")
        self._progress: dict[str, Any] | None = None

    def __enter__(self) -> RunDirectory:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=self._patience)
        except Timeout as error:
            raise RunIsBusyError(f"{self.path} is in use: {self._owner()} is running it") from error
        except OSError as error:
            if self.result_file.is_file():  # a finished run on a disk that can only be read
                return self
            raise UserError(
                f"outputs: cannot write to {self.path} ({error.strerror}); expected a writable folder"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _owner(self) -> str:
        try:
            owner = self._status()
        except UserError:
            owner = None
        if owner is None:  # it holds the lock but has not written anything yet
            return "another process"
        return f"process {owner.get('pid')} on {owner.get('host')}"

    def start(self, config_yaml: str, identified_by: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Record the settings, the provenance and the state of a run that starts or resumes."""
        write_atomically(self.path / "config.yaml", config_yaml)
        write_json(self.path / "identity.json", identified_by)
        write_json(self.path / "provenance.json", [*self.sessions(), provenance])
        self.set_status("running")

    def check_identity(self, identity: str) -> None:
        """Raise a :class:`UserError` if the directory holds a run of other settings, such as a copied one.

        A damaged ``identity.json`` of an unfinished run is written anew when it resumes.
        """
        file = self.path / "identity.json"
        try:
            identified_by = read_json(file)
        except (FileNotFoundError, UserError):
            return
        found = identity_hash(identified_by) if isinstance(identified_by, dict) else None
        if found not in (None, identity):
            raise UserError(f"{file} belongs to another run, {found} instead of {identity}; {REMEDY}")

    def sessions(self) -> list[dict[str, Any]]:
        """Return the provenance of every process that has worked on the run.

        Raises:
            UserError: if ``provenance.json`` is damaged.
        """
        file = self.path / "provenance.json"
        try:
            sessions = read_json(file)
        except FileNotFoundError:
            return []
        if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
            raise UserError(f"{file} is damaged (not a list of processes); {REMEDY}")
        return sessions

    def _status(self) -> dict[str, Any] | None:
        """Return the contents of ``status.json``; None if there is none."""
        remedy = "remove this file"
        try:
            status = read_json(self.status_file, remedy)
        except FileNotFoundError:
            return None
        if not isinstance(status, dict):
            raise UserError(f"{self.status_file} is damaged (not a status); {remedy}")
        return status

    def set_status(self, state: str, why: str | None = None) -> None:
        """Record the state: ``running``, ``finished``, ``interrupted`` or ``failed``."""
        owner = {"host": platform.node(), "pid": os.getpid(), "job": slurm_job()}
        status = {"state": state, "why": why, **owner, "time": _now(), "progress": self._progress}
        write_json(self.status_file, status)

    def set_progress(self, before: int, total: int) -> None:
        """Record that answering begins, with ``before`` of ``total`` samples already answered."""
        self._progress = {"before": before, "total": total, "since": _now()}
        self.set_status("running")

    def is_finished(self) -> bool:
        """Return whether the status is ``finished``; a shard has no result to look at."""
        return (self._status() or {}).get("state") == "finished"

    def finished_result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, or None.

        Raises:
            UserError: if ``result.json`` is damaged.
        """
        return read_result(self.result_file) if self.result_file.exists() else None

    def answered(self, ids: Iterable[str]) -> dict[str, SampleRecord]:
        """Return the records of the samples answered so far; cut off an incomplete last line.

        Raises:
            UserError: as for :meth:`records`.
        """
        try:
            data = read_bytes(self.samples_file)
        except FileNotFoundError:
            return {}
        complete = data.rfind(b"\n") + 1
        if complete < len(data):
            with writable(self.samples_file), self.samples_file.open("r+b") as file:
                file.truncate(complete)
        return self.records(ids)

    def records(self, ids: Iterable[str]) -> dict[str, SampleRecord]:
        """Return the records by id, in the order of their lines.

        Raises:
            UserError: if a line is damaged, repeats a sample, or has a sample that is not in ``ids``.
        """
        return read_records(self.samples_file, set(ids))

    def check_samples(self) -> None:
        """Raise a :class:`UserError` if a finished run has lost its answers."""
        if not self.samples_file.exists():
            raise UserError(f"{self.samples_file} is missing; {REMEDY}")

    def all_records(self, ids: Sequence[str]) -> dict[str, SampleRecord]:
        """Return the records of a finished run.

        Raises:
            UserError: as for :meth:`records`, and if a sample is neither answered nor skipped.
        """
        self.check_samples()
        records, skipped = self.records(ids), self.skipped()
        missing = [name for name in ids if name not in records and name not in skipped]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise UserError(f"{self.samples_file} has no answer for {', '.join(missing[:5])}{more}; {REMEDY}")
        return records

    def append(self, records: Iterable[SampleRecord]) -> None:
        """Append answered samples and flush them to the disk."""
        append(self.samples_file, _lines(records))

    def shard(self, number: int, count: int) -> RunDirectory:
        """Return the directory of shard ``number``, from 0, of ``count``."""
        return RunDirectory(self.path / SHARDS / f"{number}-of-{count}")

    def merge_shards(self, ids: Sequence[str]) -> None:
        """Merge the shards' answers, in the order of ``ids``, and their provenance into the run.

        Raises:
            RunIsBusyError: if a shard is still running.
            UserError: as for :meth:`answered`.
        """
        shards = sorted(self.path.glob(f"{SHARDS}/*-of-*"))
        if not shards:
            return
        records, sessions = self.answered(ids), self.sessions()
        before = len(records)
        for path in shards:
            with RunDirectory(path, LET_GO_S) as shard:
                records |= shard.answered(ids)
                sessions += [session for session in shard.sessions() if session not in sessions]
        if len(records) > before:
            write_atomically(self.samples_file, _lines(records[name] for name in ids if name in records))
            write_json(self.path / "provenance.json", sessions)

    def replace_records(self, records: Iterable[SampleRecord]) -> None:
        """Rewrite all answered samples, atomically."""
        write_atomically(self.samples_file, _lines(records))

    def write_skipped(self, reasons: Mapping[str, str]) -> None:
        """Write the list of skipped samples; it replaces an earlier one."""
        if reasons:
            lines = [
                json.dumps({"id": name, "why": why}, ensure_ascii=False) for name, why in reasons.items()
            ]
            write_atomically(self.skipped_file, "\n".join(lines) + "\n")
        else:
            with writable(self.skipped_file):
                self.skipped_file.unlink(missing_ok=True)

    def skipped(self) -> dict[str, str]:
        """Return why samples were skipped, by id.

        Raises:
            UserError: if the list is damaged.
        """
        return read_skipped(self.skipped_file)

    def finish(self, result: RunResult) -> None:
        """Write the result and mark the run as finished."""
        write_json(self.result_file, asdict(result))
        self.set_status("finished")


def set_aside(path: Path, outputs: Path) -> Path | None:
    """Move a run directory to ``outputs/replaced``, so that its cell starts over; None if there is none.

    Raises:
        RunIsBusyError: if another process is running the cell, or a shard of it.
    """
    if not path.exists():
        return None
    with ExitStack() as held:
        for folder in (path, *path.glob(f"{SHARDS}/*-of-*")):
            held.enter_context(RunDirectory(folder))
        place = outputs / REPLACED / path.relative_to(outputs)
        endings = [old.suffix[1:] for old in place.parent.glob(f"{place.name}.*")]
        taken = [int(ending) for ending in endings if ending.isdecimal()]
        place = place.with_name(f"{place.name}.{max(taken, default=0) + 1}")
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    return place


def result_files(outputs: Path) -> list[Path]:
    """Return every ``result.json`` below ``outputs``, sorted, except those of replaced runs."""
    return sorted(
        file for file in outputs.rglob("result.json") if REPLACED not in file.relative_to(outputs).parts
    )


def _lines(records: Iterable[SampleRecord]) -> str:
    return "".join(json.dumps(vars(record), ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""The folder of a sweep: the planned cells, and the run directory of each.

planned.json     the distinct cells: overrides, and finished, invalid, or missing if there is work left
cells/<n>.json   written by the process that runs the n-th missing cell: its run directory, and its error
jobs/<id>/       what a job of SLURM or a local process printed (submitit's files)
multirun.yaml    the config of the sweep (Hydra's file)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.checked import problem_of
from script_exp.results.files import read_json, write_json
from script_exp.results.state import RunState, read_shards, read_split, read_state

_AGAIN = "repeat the sweep's command: the new sweep skips finished runs"


@dataclass(frozen=True)
class CellState:
    """The state of one planned cell.

    Attributes:
        overrides: the cell's overrides.
        state: as in :class:`~script_exp.results.state.RunState`, ``missing`` or ``invalid``.
        why: the reason, if it is not finished.
        run_dir: its run directory; None if it failed before that was known.
        before: whether it was finished before the sweep.
    """

    overrides: list[str]
    state: str
    why: str | None = None
    run_dir: Path | None = None
    before: bool = False


@dataclass(frozen=True)
class _Planned:
    """One entry of ``planned.json``."""

    overrides: list[str]
    state: str
    why: str | None
    run_dir: str | None


@dataclass(frozen=True)
class _Note:
    """The contents of ``cells/<n>.json``."""

    run_dir: str | None
    error: str | None


class SweepRecord:
    """A sweep's folder.

    Args:
        folder: ``outputs/sweeps/<time>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unwritten: dict[int, dict[str, Any]] = {}

    def plan(self, cells: Sequence[CellState]) -> None:
        """Write the list of distinct cells; the ``missing`` ones are launched, in order."""
        write_json(self.folder / "planned.json", [_planned(cell) for cell in cells])

    def note_cell(self, number: int, run_dir: Path | None, error: str | None = None) -> None:
        """Write the run directory of job ``number``, and its error, if any.

        On a full disk this process remembers it instead, because the error itself says that the disk is full.
        """
        note = {"run_dir": None if run_dir is None else str(run_dir.absolute()), "error": error}
        try:
            (self.folder / "cells").mkdir(exist_ok=True)
            write_json(self._note(number), note)
        except (OSError, UserError):
            self._unwritten[number] = note

    def cells(self) -> list[CellState]:
        """Return the state of every planned cell; one whose note is damaged is ``damaged``.

        Raises:
            UserError: if the plan is missing or damaged.
        """
        states, number = [], 0
        for planned in self._read_plan():
            run_dir = None if planned.run_dir is None else Path(planned.run_dir)
            state = CellState(planned.overrides, planned.state, planned.why, run_dir)
            if state.state == "missing":
                state = self._launched(number, state.overrides)
                number += 1
            elif state.state == "finished":
                state = replace(state, before=True)
            states.append(state)
        return states

    def _read_plan(self) -> list[_Planned]:
        file = self.folder / "planned.json"
        try:
            entries = read_json(file, _AGAIN)
        except FileNotFoundError as error:
            raise UserError(f"{file} is missing; {_AGAIN}") from error
        if not isinstance(entries, list):
            raise UserError(f"{file} is damaged (not a list of cells); {_AGAIN}")
        for number, entry in enumerate(entries):
            problem = problem_of(entry, _Planned)
            if problem is not None:
                raise UserError(f"{file} is damaged (cell {number}: {problem}); {_AGAIN}")
        return [_Planned(**{key: entry[key] for key in _Planned.__dataclass_fields__}) for entry in entries]

    def _launched(self, number: int, overrides: list[str]) -> CellState:
        note = self._unwritten.get(number)
        if note is None and not self._note(number).exists():
            jobs = self.folder / "jobs"
            why = f"it never started; {jobs} may show why" if jobs.exists() else "it never started"
            return CellState(overrides, "missing", why)
        try:
            note = note or self._read_note(number)
        except UserError as error:
            return CellState(overrides, "damaged", str(error))
        run_dir = None if note["run_dir"] is None else Path(note["run_dir"])
        if note["error"]:
            return CellState(overrides, "failed", note["error"], run_dir)
        state = None if run_dir is None else read_state(run_dir) or _unfinished_shard(run_dir)
        if state is None and run_dir is not None:
            state = read_split(run_dir)
        if state is None:
            return CellState(overrides, "failed", "it ended before it wrote a status", run_dir)
        return CellState(overrides, state.state, state.why, run_dir)

    def _read_note(self, number: int) -> dict[str, Any]:
        file = self._note(number)
        note: dict[str, Any] = read_json(file, _AGAIN)
        problem = problem_of(note, _Note)
        if problem is not None:
            raise UserError(f"{file} is damaged ({problem}); {_AGAIN}")
        return note

    def _note(self, number: int) -> Path:
        return self.folder / "cells" / f"{number}.json"


def _planned(cell: CellState) -> dict[str, Any]:
    run_dir = None if cell.run_dir is None else str(cell.run_dir.absolute())
    return {"overrides": cell.overrides, "state": cell.state, "why": cell.why, "run_dir": run_dir}


def _unfinished_shard(run_dir: Path) -> RunState | None:
    return next((shard for shard in read_shards(run_dir) if shard.state != "finished"), None)

"""What a cell has to show already, without running it."""

from __future__ import annotations

from typing import Any

from script_exp.cell.prepared import RunCell
from script_exp.errors import SettingError
from script_exp.results.result_file import read_result_of
from script_exp.results.run_directory import RunDirectory
from script_exp.terminal.progress import note


def read_finished(cell: RunCell) -> dict[str, Any] | None:
    """Return the result of a cell if it is finished; never run it.

    Raises:
        UserError: if the result is damaged, or that of another cell.
    """
    return read_result_of(cell.identity, cell.directory / "result.json")


def read_done(cell: RunCell) -> dict[str, Any] | None:
    """Return the result of a cell that a sweep can leave out, because nothing would run; None otherwise.

    Raises:
        UserError: if the result is damaged, or lacks what only a new run can give.
    """
    result, settings = read_finished(cell), cell.settings
    if result is None or (result["latency"] is None and settings.latency == "on"):
        return None
    directory = RunDirectory(cell.directory)
    if not directory.is_finished():
        return None
    check_kept(cell, directory)
    is_compared = settings.unpruned == "run" and settings.budget is not None
    return None if is_compared and read_finished(cell.unpruned()) is None else result


def note_changes(cell: RunCell, directory: RunDirectory) -> None:
    """Print a note if existing answers come from another version of the pruner's file, or other pictures."""
    sessions = directory.sessions()
    if {session.get("pruner_code") for session in sessions} - {cell.pruner_code, None}:
        name = cell.settings.pruner["name"]
        note(f"the file of pruner={name} has changed since this run; force=true starts over")
    before = {session.get("pictures") for session in sessions} - {None}
    if before and cell.pictures is not None and before != {cell.pictures}:
        name = cell.settings.benchmark["name"]
        note(f"the images or videos of benchmark={name} have changed since this run; force=true starts over")


def check_kept(cell: RunCell, directory: RunDirectory) -> None:
    """Raise a :class:`SettingError` if ``record_kept`` is set but existing answers lack the kept tokens."""
    if cell.settings.record_kept and any(
        record.kept_indices is None
        for record in directory.answered(sample.id for sample in cell.samples()).values()
    ):
        raise SettingError(
            "record_kept", True, f"false, or force=true to start over: {directory.path} was run without it"
        )

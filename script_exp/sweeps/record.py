"""The folder of a sweep: the planned cells, and the run directory of each.

planned.json     the overrides of every cell, in order; a cell's number is its place in the list
cells/<n>.json   written by the process that runs cell n: its run directory, and its error, if any
started_over/    one empty file for each run that force=true has started over
jobs/<id>/       what a job of SLURM or a local process printed (submitit's files)
multirun.yaml    the config of the sweep (Hydra's file)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """

    overrides: list[str]
    state: str
    why: str | None = None
    run_dir: Path | None = None


class SweepRecord:
    """A sweep's folder.

    Args:
        folder: ``outputs/sweeps/<time>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plan(self, cells: Sequence[Sequence[str]]) -> None:
        """Write the list of cells."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "planned.json", list(cells))

    def note_cell(self, number: int, run_dir: Path | None, error: str | None = None) -> None:
        """Write the run directory of cell ``number``, and its error, if any."""
        (self.folder / "cells").mkdir(exist_ok=True)
        note = {"run_dir": None if run_dir is None else str(run_dir.absolute()), "error": error}
        write_json(self._note(number), note)

    def starts_over(self, run_dir: Path) -> bool:
        """Return whether the caller is the sweep's first cell in ``run_dir``, which ``force`` starts over."""
        place = self.folder / "started_over"
        place.mkdir(exist_ok=True)
        try:
            (place / run_dir.name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def was_launched(self) -> bool:
        """Return whether a cell or a job was started; false after a mistake on the command line."""
        return any((self.folder / name).exists() for name in ("cells", "jobs"))

    def cells(self) -> list[CellState]:
        """Return the state of every planned cell."""
        planned = read_json(self.folder / "planned.json", _AGAIN)
        return [self._cell(number, overrides) for number, overrides in enumerate(planned)]

    def _cell(self, number: int, overrides: list[str]) -> CellState:
        if not self._note(number).exists():
            return CellState(overrides, "missing", f"it never started; {self.folder / 'jobs'} may show why")
        note = read_json(self._note(number), _AGAIN)
        run_dir = None if note["run_dir"] is None else Path(note["run_dir"])
        if note["error"]:
            return CellState(overrides, "failed", note["error"], run_dir)
        state = None if run_dir is None else read_state(run_dir) or _unfinished_shard(run_dir)
        if state is None and run_dir is not None:
            state = read_split(run_dir)
        if state is None:
            return CellState(overrides, "failed", "it ended before it wrote a status", run_dir)
        return CellState(overrides, state.state, state.why, run_dir)

    def _note(self, number: int) -> Path:
        return self.folder / "cells" / f"{number}.json"


def _unfinished_shard(run_dir: Path) -> RunState | None:
    return next((shard for shard in read_shards(run_dir) if shard.state != "finished"), None)

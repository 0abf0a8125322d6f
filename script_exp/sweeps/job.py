"""One cell of a sweep, in whichever process it runs."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

from hydra.conf import HydraConf

from script_exp.errors import UserError
from script_exp.results.run_directory import RunIsBusyError
from script_exp.sweeps.plan import current_sweep
from script_exp.sweeps.record import SweepRecord


class SweepJob:
    """The record of a cell in the sweep's folder; as a context manager, it records and suppresses errors.

    The other cells continue. The summary at the end names the error and sets the exit code.

    Args:
        sweep: the sweep's folder.
        number: the number of the cell.
    """

    def __init__(self, sweep: SweepRecord, number: int) -> None:
        self._sweep, self._number = sweep, number
        self._run_dir: Path | None = None

    @classmethod
    def of(cls, hydra: HydraConf) -> SweepJob:
        """Return the job of Hydra's current config, in the process of the sweep or in one of its own."""
        return cls(current_sweep() or SweepRecord(Path(hydra.sweep.dir)), hydra.job.num)

    def runs_in(self, run_dir: Path) -> None:
        """Record the run directory of the cell."""
        self._run_dir = run_dir
        self._sweep.note_cell(self._number, run_dir)

    def __enter__(self) -> SweepJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):  # no error, or one that ends the whole process
            return False
        if isinstance(error, RunIsBusyError):  # another command runs the same cell
            print(f"skipped: {error}", file=sys.stderr)
            return True
        if isinstance(error, UserError):
            text = str(error)
        else:
            traceback.print_exception(error)
            text = f"{type(error).__name__}: {error}"
        print(f"error: {text}", file=sys.stderr)
        self._sweep.note_cell(self._number, self._run_dir, text)
        return True

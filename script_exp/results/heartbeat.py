"""Signs of life, so that a run whose machine died does not count as running."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

PERIOD_S = 30
SILENT_AFTER_S = 300  # leaves room for clocks that differ within a cluster


class Heartbeat:
    """Context manager that touches a file every half minute.

    Args:
        file: the file; nothing happens while it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(PERIOD_S):
            with contextlib.suppress(OSError):  # the run itself reports a full disk or a lost server
                os.utime(self._file)


def slurm_job() -> str | None:
    """Return SLURM's id of this job (``12``, or ``12_3`` in an array); None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")

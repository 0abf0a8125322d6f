"""``hydra/launcher=slurm``: one job of an array for each cell."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

from script_exp.terminal.signals import Terminated

log = logging.getLogger(__name__)


class Slurm(SlurmLauncher):
    """submitit's launcher, which gives up at the first job that dies; this one waits for the others.

    What became of each cell is told by its run directory, so nothing is lost.
    """

    def __call__(self, *arguments: Any) -> JobReturn:
        """One cell, in its job."""
        number = signal.SIGUSR2  # as in the submitted script
        queue_again: Any = signal.getsignal(number)  # submitit's, which ends this process

        def end(signum: int, frame: FrameType | None) -> None:
            try:
                queue_again(signum, frame)
            except (SystemExit, CalledProcessError) as error:
                # CalledProcessError: SLURM ended `scontrol requeue` with the job that it was to queue again.
                raise Terminated(signum) from error

        signal.signal(number, end)
        result: JobReturn = super().__call__(*arguments)
        return result

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the array and wait for it; a job that died counts for nothing here."""
        from submitit import SlurmJob  # not before it is needed: Hydra imports this file at every start
        from submitit.core.utils import UncompletedJobError

        folder = Path(self.params["submitit_folder"])  # .../jobs/%j
        try:
            results: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
        except UncompletedJobError as error:
            log.warning("%s", str(error).splitlines()[0])
        except KeyboardInterrupt:
            log.warning("the jobs go on: scancel ends them, runners/status.py shows them")
            raise
        else:
            return results
        for submitted in sorted(folder.parent.glob("*/*_submitted.pkl")):
            SlurmJob(folder, submitted.parent.name).wait()
        return []

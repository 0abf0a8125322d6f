"""``hydra/launcher=slurm``: one array job per cell."""

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
    """Launch with submitit, but wait for the other jobs when one dies; submitit's launcher gives up.

    The run directory of each cell records its outcome, so nothing is lost.
    """

    def __call__(self, *arguments: Any) -> JobReturn:
        """Run one cell in its job."""
        number = signal.SIGUSR2  # as in the submitted script
        queue_again: Any = signal.getsignal(number)  # submitit's, which ends this process

        def end(signum: int, frame: FrameType | None) -> None:
            try:
                queue_again(signum, frame)
            except (SystemExit, CalledProcessError) as error:
                # CalledProcessError: SLURM ended `scontrol requeue` together with the job to requeue.
                raise Terminated(signum) from error

        signal.signal(number, end)
        result: JobReturn = super().__call__(*arguments)
        return result

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the array and wait for all of it, even if jobs die."""
        from submitit import SlurmJob  # imported late: Hydra imports this file at every start
        from submitit.core.utils import UncompletedJobError

        folder = Path(self.params["submitit_folder"])  # .../jobs/%j
        try:
            results: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
        except UncompletedJobError as error:
            log.warning("%s", str(error).splitlines()[0])
        except KeyboardInterrupt:
            log.warning("the jobs continue: scancel ends them, runners/status.py shows them")
            raise
        else:
            return results
        for submitted in sorted(folder.parent.glob("*/*_submitted.pkl")):
            SlurmJob(folder, submitted.parent.name).wait()
        return []

"""``hydra/launcher=slurm``: one job of an array for each cell."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn

# Hydra imports every plugin, also where submitit is not installed; choosing it there is found by the runner.
if importlib.util.find_spec("submitit"):
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
    from submitit import SlurmJob
    from submitit.core.utils import UncompletedJobError

    log = logging.getLogger(__name__)

    class Slurm(SlurmLauncher):
        """submitit's launcher, which gives up at the first job that dies; this one waits for the others.

        What became of each cell is told by its run directory, so nothing is lost.
        """

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            folder = Path(self.params["submitit_folder"])  # .../jobs/%j
            try:
                return super().launch(job_overrides, initial_job_idx)
            except UncompletedJobError as error:
                log.warning("%s", str(error).splitlines()[0])
            except KeyboardInterrupt:
                log.warning("the jobs go on: scancel ends them, runners/status.py shows them")
                raise
            for submitted in sorted(folder.parent.glob("*/*_submitted.pkl")):
                SlurmJob(folder, submitted.parent.name).wait()
            return []

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

    log = logging.getLogger(__name__)

    class Slurm(SlurmLauncher):
        """submitit's launcher, which gives up at the first job that dies; this one waits for the others.

        What became of each cell is told by its run directory, so nothing is lost.
        """

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            from submitit import SlurmJob
            from submitit.core.utils import UncompletedJobError

            folder = Path(self.params["submitit_folder"])  # .../jobs/%j
            try:
                return super().launch(job_overrides, initial_job_idx)
            except UncompletedJobError as error:
                log.warning("%s", str(error).splitlines()[0])
            for path in sorted(folder.parent.iterdir()):
                if path.is_dir():
                    SlurmJob(folder, path.name).wait()
            return []

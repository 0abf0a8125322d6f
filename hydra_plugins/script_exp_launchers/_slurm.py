"""``hydra/launcher=slurm``: one array job per cell."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from subprocess import CalledProcessError
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import DictConfig

from hydra_plugins.script_exp_launchers._leave import leave
from script_exp.sweeps.plan import current_sweep
from script_exp.terminal.called import as_called
from script_exp.terminal.signals import Terminated

log = logging.getLogger(__name__)

_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")  # which cluster to ask, rather than which job this is
_USUAL_ARRAY = 1001  # SLURM's default


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

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check that SLURM is here, before the cells are planned."""
        if shutil.which("sbatch") is None:
            leave(
                "hydra/launcher=slurm: there is no sbatch on this machine; expected a machine of a SLURM "
                "cluster, or hydra/launcher=local_processes"
            )
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit arrays as large as the cluster allows, one after the other, and wait for each."""
        results: list[JobReturn] = []
        size = _largest_array()
        with _outside_of_a_job():
            for start in range(0, len(job_overrides), size):
                results += self._launch_array(job_overrides[start : start + size], initial_job_idx + start)
        return results

    def _launch_array(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit one array and wait for all of it, even if jobs die."""
        from submitit import SlurmJob  # imported late: Hydra imports this file at every start
        from submitit.core.utils import FailedJobError, UncompletedJobError

        folder = Path(self.params["submitit_folder"])  # .../jobs/%j
        before = set(folder.parent.glob("*"))
        try:
            results: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
        except FailedJobError as error:
            _note_refused(range(initial_job_idx, initial_job_idx + len(job_overrides)), str(error))
            return []
        except UncompletedJobError as error:
            log.warning("%s", str(error).splitlines()[0])
        except KeyboardInterrupt:
            log.warning(as_called("the jobs continue: scancel ends them, runners/status.py shows them"))
            raise
        else:
            return results
        for submitted in sorted(folder.parent.glob("*/*_submitted.pkl")):
            if submitted.parent not in before:
                SlurmJob(folder, submitted.parent.name).wait()
        return []


def _largest_array() -> int:
    """Return how many jobs an array of this cluster may have (MaxArraySize)."""
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return max(1, int(found.group(1))) if found else _USUAL_ARRAY


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hide what SLURM says of the job that this process may run in; new jobs would inherit it."""
    from submitit.helpers import clean_env

    cluster = {name: os.environ[name] for name in _CLUSTER if name in os.environ}
    is_job = "SLURM_JOB_ID" in os.environ
    with clean_env() if is_job else nullcontext():
        os.environ.update(cluster)
        yield


def _note_refused(numbers: Iterable[int], message: str) -> None:
    """Record that sbatch refused some jobs; the summary says why."""
    lines = [line.removeprefix("sbatch: error: ") for line in message.splitlines() if line.strip()]
    why = f"sbatch refused its job: {lines[-1] if lines else 'without a reason'}"
    if "array specification" in message:
        why += (
            "; the cluster's arrays are smaller (MaxArraySize in scontrol show config): sweep over fewer "
            "cells at a time"
        )
    sweep = current_sweep()
    for number in numbers:
        if sweep is not None:
            sweep.note_cell(number, None, why)

"""``hydra/launcher=local_processes``: one process per cell, as many at a time as there are GPUs."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import DictConfig

from hydra_plugins.script_exp_launchers._leave import leave
from script_exp.errors import SettingError

log = logging.getLogger(__name__)
_TEN_YEARS_MIN = 10 * 365 * 24 * 60  # submitit needs a limit


class LocalProcesses(BaseSubmititLauncher):
    """Run each cell in its own process. If one dies, only its cell fails, and the next cell gets its GPU.

    Args:
        submitit_folder: where the processes' files go.
        gpus: GPU numbers, with one process at a time on each; None: all visible GPUs.
        processes: processes at a time on a machine without a GPU.
    """

    def __init__(self, submitit_folder: str, gpus: list[int] | None, processes: int | None) -> None:
        super().__init__(submitit_folder=submitit_folder)
        self._gpus, self._processes = gpus, processes

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the launcher's settings, before the cells are planned."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._free = self._places()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells; the run directory of each records its outcome."""
        free = list(self._free)
        waiting = deque(enumerate(job_overrides, start=initial_job_idx))
        running: dict[Any, list[int]] = {}
        log.info("Launching %d jobs, %d at a time", len(waiting), len(free))
        import torch  # imported late: Hydra imports this file at every start

        instantiate(self.config.tracker, _convert_="all").share()
        # Cells that each use every core slow one another down tenfold.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // len(free))))
        try:
            while waiting or running:
                for job in [job for job in running if job.done()]:
                    free.append(running.pop(job))
                    if not job.paths.result_pickle.exists():
                        log.warning("\ta process died; see the end of %s", job.paths.stderr)
                while waiting and free:
                    gpus = free.pop(0)
                    running[self._start(*waiting.popleft(), gpus)] = gpus
                time.sleep(0.2)
        finally:  # jobs are left only if this process was asked to end
            for job in running:
                job.cancel()
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

    def _start(self, number: int, overrides: Sequence[str], gpus: list[int]) -> Any:
        """Start one cell and return its submitit job."""
        from submitit import LocalExecutor  # imported late: Hydra imports this file at every start

        executor = LocalExecutor(self.params["submitit_folder"], max_num_timeout=0)
        executor.update_parameters(timeout_min=_TEN_YEARS_MIN, gpus_per_node=len(gpus), visible_gpus=gpus)
        log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
        return executor.submit(
            self, list(overrides), "hydra.sweep.dir", number, str(number), Singleton.get_state()
        )

    def _places(self) -> list[list[int]]:
        """Return the visible GPUs of each concurrent process: one, or none on a CPU."""
        gpus = self._gpus if self._gpus is not None else _visible_gpus()
        if isinstance(gpus, int | str) or not all(isinstance(gpu, int) for gpu in gpus):
            _refuse("gpus", gpus, "a list of numbers, such as [0,1]")
        if gpus:
            return [[gpu] for gpu in gpus]
        if isinstance(self._processes, bool) or not isinstance(self._processes, int) or self._processes < 1:
            _refuse("processes", self._processes, "a whole number >= 1 on a machine without a GPU")
        return [[] for _ in range(self._processes)]


def _visible_gpus() -> list[int]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        try:
            return [int(number) for number in named.split(",") if number]
        except ValueError:
            _refuse("gpus", None, f"a list of numbers, because CUDA_VISIBLE_DEVICES={named} has none")
    import torch

    return list(range(torch.cuda.device_count()))


def _refuse(key: str, value: object, expected: str) -> NoReturn:
    leave(SettingError(f"hydra.launcher.{key}", value, expected))

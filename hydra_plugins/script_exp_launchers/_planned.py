"""``hydra/sweeper=planned``, the default: plan first, then launch only the cells that have work left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.script_exp_launchers._leave import leave
from script_exp.errors import UserError


class PlannedSweeper(Sweeper):
    """Launch the distinct cells of the product of all values, except those that are finished or invalid.

    Args:
        params: what to sweep over besides the command line.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Plan the cells, then launch them; the number of a job is its place in the plan's list of jobs."""
        try:
            jobs = self._plan(arguments)
        except UserError as error:
            leave(error)
        results: Sequence[JobReturn] = self._launcher.launch(jobs, initial_job_idx=0) if jobs else []
        for result in results:
            _ = result.return_value  # raises what a job raised
        return results

    def _plan(self, arguments: list[str]) -> list[list[str]]:
        """Write the plan and return the overrides of the cells to launch."""
        from script_exp.config.multirun import compose_each, expand  # imported late: Hydra imports this file
        from script_exp.config.words import quoted
        from script_exp.sweeps.plan import plan_sweep

        cells = expand(self._params, arguments)
        place = self._config.hydra.sweep.dir  # read before any cell is composed, so that all have its time
        load = self._context.config_loader.load_sweep_config
        if cells:
            place = load(self._config, cells[0]).hydra.sweep.dir  # another one if the sweep is over outputs
        configs = compose_each(cells, lambda cell: _without_hydra(load(self._config, cell)))
        planned = list(zip(cells, configs, strict=True))
        with read_write(self._config.hydra), open_dict(self._config.hydra):
            self._config.hydra.sweep.dir = place
            self._config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(place)}")
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task, config=self._config
        )
        launcher, device = self._config.hydra.launcher, None
        if self._config.hydra.runtime.choices["hydra/launcher"].startswith("slurm"):
            asks = any(launcher.get(key) for key in ("gpus_per_node", "gpus_per_task", "gres"))
            device = "cuda" if asks else "cpu"
        return plan_sweep(Path(place), planned, OmegaConf.to_yaml(self._config), device)


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

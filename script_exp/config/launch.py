"""Let Hydra run what was checked, without composing it again: it needs a quarter of a second each time.

``hydra.main`` composes a config to find the mode, and once more to run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra  # of hydra-core 1.3.8; a change is found by every test of a run
from hydra._internal.utils import run_and_report
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import configure_log
from hydra.types import TaskFunction
from omegaconf import DictConfig

from script_exp.config.command_line import CONF, JOB


def run_composed(task: TaskFunction, config: DictConfig) -> None:
    """Call ``task`` with a config that :func:`~script_exp.config.command_line.check_arguments` composed."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=JOB):
        hydra = _Composed(config)
        run_and_report(lambda: hydra.run("config", task, []))


def run_sweep(task: TaskFunction, overrides: Sequence[str]) -> None:
    """Call ``task`` with the config of each cell, as Hydra does for ``-m``."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=JOB):
        hydra = Hydra(JOB, GlobalHydra.instance().config_loader())
        run_and_report(lambda: hydra.multirun("config", task, [*overrides, "hydra.mode=MULTIRUN"]))


class _Composed(Hydra):
    """Hydra with a config that need not be composed."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(JOB, GlobalHydra.instance().config_loader())
        self._config = config

    def compose_config(self, *_: Any, **__: Any) -> DictConfig:
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        return self._config

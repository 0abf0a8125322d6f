"""Which cells a sweep has: the overrides of each, from the sweeper's parameters and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from script_exp.sweeps.record import SweepRecord

_current: list[SweepRecord] = []


def expand(params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of each cell, in the order and with the numbers of Hydra's basic sweeper.

    Args:
        params: ``hydra.sweeper.params``; an argument with the same key replaces one.
        arguments: overrides on the command line, without those of ``hydra``.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    given = [*(f"{key}={value}" for key, value in (params or {}).items()), *arguments]
    return BasicSweeper.split_arguments(parser.parse_overrides(given), max_batch_size=None)[0]


class RecordPlan(Callback):
    """Hydra callback: write the planned cells into the sweep's folder before the first one starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        sweep = SweepRecord(Path(hydra.sweep.dir))
        sweep.plan(expand(hydra.sweeper.params, list(hydra.overrides.task)))
        _current[:] = [sweep]


def current_sweep() -> SweepRecord | None:
    """The sweep that this process launched, if it launched one."""
    return _current[0] if _current else None

"""Record the planned cells of the sweep that this process launches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from script_exp.config.multirun import expand
from script_exp.sweeps.record import SweepRecord

_current: list[SweepRecord] = []


class RecordPlan(Callback):
    """Hydra callback that writes the planned cells to the sweep's folder before the first one starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        sweep = SweepRecord(Path(hydra.sweep.dir))
        sweep.plan(expand(hydra.sweeper.params, list(hydra.overrides.task)))
        _current[:] = [sweep]


def current_sweep() -> SweepRecord | None:
    """Return the sweep that this process launched, if any."""
    return _current[0] if _current else None

"""Where metrics are shown while and after a run. A sink: nothing is ever read back from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

from script_exp.errors import UserError, check_choice


class Tracker(ABC):
    """A place that metrics are sent to."""

    @abstractmethod
    def start(
        self, name: str, run_id: str, group: str, tags: list[str], config: dict[str, Any], folder: Path
    ) -> None:
        """Open the run; ``folder`` is the run directory."""

    @abstractmethod
    def log(self, metrics: dict[str, float], step: int) -> None:
        """Metrics after ``step`` samples."""

    @abstractmethod
    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        """Close the run with its final metrics."""


class NoTracker(Tracker):
    """Send nothing anywhere."""

    def start(
        self, name: str, run_id: str, group: str, tags: list[str], config: dict[str, Any], folder: Path
    ) -> None:
        pass

    def log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        pass


class WandbTracker(Tracker):
    """Weights & Biases. Offline unless asked: nothing leaves the machine.

    Args:
        mode: ``offline`` or ``online``.
        project: W&B project.
        entity: W&B user or team; None for the default one.
    """

    def __init__(
        self,
        mode: Literal["offline", "online"] = "offline",
        project: str = "script-exp",
        entity: str | None = None,
    ) -> None:
        check_choice("mode", mode, ("offline", "online"))
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "tracker=wandb: the package wandb is not installed; pip install 'script-exp[wandb]'"
            ) from error
        self._wandb, self._mode, self._project, self._entity = wandb, mode, project, entity
        self._run: Any = None

    def start(
        self, name: str, run_id: str, group: str, tags: list[str], config: dict[str, Any], folder: Path
    ) -> None:
        self._run = self._wandb.init(
            mode=self._mode,
            project=self._project,
            entity=self._entity,
            name=name,
            id=run_id,
            group=group,
            tags=tags,
            config=config,
            dir=folder,
            resume="allow" if self._mode == "online" else None,
            reinit="finish_previous",
            settings=self._wandb.Settings(silent=True),
        )

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        if self._run is None:  # it failed before it was opened
            return
        self._run.summary.update(summary)
        self._run.finish(exit_code=1 if failed else 0)

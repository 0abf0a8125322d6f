"""Trackers show metrics during and after a run. A run reads nothing back from them."""

from __future__ import annotations

import logging
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from script_exp.errors import UserError, check_choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker lists it.

    Attributes:
        name: ``model-benchmark-pruner-budget-seed``.
        run_id: the cell's identity, so that a resumed run stays the same run.
        group: the sweep.
        tags: model, benchmark and pruner.
        config: every setting.
        folder: the run directory.
    """

    name: str
    run_id: str
    group: str
    tags: list[str]
    config: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class ShownSample:
    """One answered sample; ``picture`` shows the kept tokens if they can be drawn."""

    id: str
    question: str
    references: list[str]
    prediction: str
    score: float
    kept: int
    picture: Image.Image | None


class Tracker(ABC):
    """A destination for metrics."""

    @abstractmethod
    def start(self, run: TrackedRun) -> None:
        """Open the run."""

    @abstractmethod
    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log metrics after ``step`` samples; do nothing if the run is not open."""

    @abstractmethod
    def show(self, samples: Iterable[ShownSample]) -> None:
        """Show a table of a few samples."""

    @abstractmethod
    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        """Close the run, if it is open, with its final metrics."""


class NoTracker(Tracker):
    """A tracker that does nothing."""

    def start(self, run: TrackedRun) -> None:
        pass

    def log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def show(self, samples: Iterable[ShownSample]) -> None:
        pass

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        pass


class WandbTracker(Tracker):
    """Weights & Biases. Both modes log everything to the run directory.

    ``online`` also starts a process that uploads the log as it grows. A slow or unreachable server, or a
    service that dies, never delays or fails a run, and ``wandb beta sync`` can upload the log later.
    An error inside W&B stops the tracking, not the run.

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
                "tracker=wandb: the package wandb is not installed; pip install -e '.[wandb]'"
            ) from error
        self._wandb, self._mode, self._project, self._entity = wandb, mode, project, entity
        self._run: Any = None

    def start(self, run: TrackedRun) -> None:
        def open_run() -> None:
            self._run = self._wandb.init(
                mode="offline",
                project=self._project,
                entity=self._entity,
                name=run.name,
                id=run.run_id,
                group=run.group,
                job_type="evaluation",
                tags=run.tags,
                config=run.config,
                dir=run.folder,
                reinit="finish_previous",
                settings=self._wandb.Settings(silent=True, finish_timeout=30, finish_timeout_raises=False),
            )

        self._guarded(open_run)
        if self._run is not None and self._mode == "online":
            self._guarded(lambda: self._send(run.folder / "wandb"))

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.log(metrics, step=step))

    def show(self, samples: Iterable[ShownSample]) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.log(self._shown(list(samples))))

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            self._guarded(lambda: run.summary.update(summary))
            self._guarded(lambda: run.finish(exit_code=1 if failed else 0))

    def _shown(self, samples: list[ShownSample]) -> dict[str, Any]:
        columns = ["id", "question", "references", "prediction", "score", "kept"]
        table = self._wandb.Table(columns=columns)
        for one in samples:
            table.add_data(
                one.id, one.question, ", ".join(one.references), one.prediction, one.score, one.kept
            )
        # Not in the table, which would store its pictures outside the run directory.
        pictures = [
            self._wandb.Image(one.picture, caption=f"{one.id}: {one.question} {one.prediction}")
            for one in samples
            if one.picture is not None
        ]
        return {"samples": table, **({"kept_tokens": pictures} if pictures else {})}

    def _send(self, folder: Path) -> None:
        """Start the process that uploads the log; it ends with the run and writes its output to a file."""
        log_folder = str(Path(self._run.dir).parent)
        with (folder / "sync.log").open("ab") as output:
            subprocess.Popen(
                [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", log_folder],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever W&B raises, the run continues
            log.warning("stopped tracking this run with W&B: %s: %s", type(error).__name__, error)
            self._run = None

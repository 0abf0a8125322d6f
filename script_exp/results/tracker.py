"""Trackers show metrics during and after a run. A run reads nothing back from them."""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from script_exp.errors import check_choice, check_number, printable
from script_exp.results.wandb_logged import digest_of, log_of, note_logged
from script_exp.results.wandb_package import leave_service, load, run_settings, share_service
from script_exp.results.wandb_rules import (
    NAME_LIMIT,
    TAG_LIMIT,
    check_login,
    check_name,
    forget_agent,
    reason,
    shortened,
)
from script_exp.results.wandb_upload import Upload, is_sent, output_file, sent_to, sync_command
from script_exp.terminal.progress import note

log = logging.getLogger(__name__)

_LEAST_FREE = 2**20  # bytes; on a full disk, W&B would wait for its service


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

    @property
    @abstractmethod
    def keeps_logs(self) -> bool:
        """Whether runs get logs in their directories, which can be sent."""

    @abstractmethod
    def share(self) -> None:
        """Start what the runs of a sweep use together, before the processes that they run in."""

    @abstractmethod
    def has_logged(self, folder: Path, summary: dict[str, Any]) -> bool:
        """Return whether the finished run in ``folder`` is logged with these final metrics, or cannot be."""

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

    @property
    def keeps_logs(self) -> bool:
        return False

    def share(self) -> None:
        pass

    def has_logged(self, folder: Path, summary: dict[str, Any]) -> bool:
        return True

    def start(self, run: TrackedRun) -> None:
        pass

    def log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def show(self, samples: Iterable[ShownSample]) -> None:
        pass

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        pass


class WandbTracker(Tracker):
    """Weights & Biases. Both modes log everything to the folder ``wandb`` of the run directory.

    Nothing leaves the machine unless ``online`` is set: it also starts a process that uploads the log as it
    grows. A slow or unreachable server, or a service that dies, never fails a run, and delays its end by at
    most ``wait_s``. An error inside W&B stops the tracking, not the run. Both are said on the terminal, with
    the command that sends the rest.

    W&B is imported and started when a run is opened: a finished run that is logged costs nothing. A run keeps
    its own id, also in a process that a W&B sweep agent started.

    Args:
        mode: ``offline``, ``online``, or ``disabled`` to do nothing.
        project: W&B project.
        entity: W&B user or team; None for the default one.
        wait_s: seconds that the end of a run waits for the upload, which then continues for a minute.

    Raises:
        UserError: if W&B refuses a name, or ``online`` has no login.
    """

    def __init__(
        self,
        mode: Literal["offline", "online", "disabled"] = "offline",
        project: str = "script-exp",
        entity: str | None = None,
        wait_s: float = 5,
    ) -> None:
        check_choice("mode", mode, ("offline", "online", "disabled"))
        check_number("wait_s", wait_s, lambda seconds: 0 <= seconds < math.inf, "a number of seconds >= 0")
        check_name("project", project)
        if entity is not None:
            check_name("entity", entity)
        if mode != "disabled":
            forget_agent()
        if mode == "online":
            check_login()
        self._mode, self._wait_s = mode, wait_s
        self._project, self._entity = str(project), None if entity is None else str(entity)
        self._run: Any = None
        self._folder = Path()
        self._upload: Upload | None = None

    @property
    def keeps_logs(self) -> bool:
        return self._mode != "disabled"

    def share(self) -> None:
        """Start W&B's service; if that fails, each process starts its own."""
        if self.keeps_logs:
            try:
                share_service()
            except Exception as error:  # whatever W&B raises, the sweep continues
                note(f"W&B: every run starts its own service: {reason(error)}")

    def has_logged(self, folder: Path, summary: dict[str, Any]) -> bool:
        """As for every tracker; ``online`` also sends what was not sent yet."""
        if not self.keeps_logs or not os.access(folder, os.W_OK):
            return True
        log_folder = log_of(folder, self._digest(summary))
        if log_folder is None:
            return False
        if self._mode == "online":
            if not is_sent(log_folder):
                self._guarded(lambda: Upload(log_folder).finish(self._wait_s))
            self._tell(log_folder)
        return True

    def start(self, run: TrackedRun) -> None:
        def open_run() -> None:
            if shutil.disk_usage(run.folder).free < _LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.folder))
            self._run = load().init(
                mode="offline",
                project=self._project,
                entity=self._entity,
                name=shortened(run.name, NAME_LIMIT),
                id=run.run_id,
                group=shortened(run.group, NAME_LIMIT),
                job_type="evaluation",
                tags=list(dict.fromkeys(shortened(tag, TAG_LIMIT) for tag in run.tags)),
                config=run.config,
                dir=run.folder,
                reinit="finish_previous",
                settings=run_settings(),
            )
            self._folder = Path(self._run.dir).parent

        if self.keeps_logs:
            self._guarded(open_run)
        if self._run is not None and self._mode == "online":
            self._guarded(self._start_upload)

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.log(metrics, step=step))

    def show(self, samples: Iterable[ShownSample]) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.log(self._shown(list(samples))))

    def finish(self, summary: dict[str, Any], failed: bool = False) -> None:
        if self._run is None:
            return

        def close() -> None:
            self._run.summary.update(summary)
            self._run.finish(exit_code=1 if failed else 0)
            if not failed:
                note_logged(self._folder, self._digest(summary))

        self._guarded(close)
        if self._run is not None:
            self._run = None
            if self._upload is not None:
                self._upload.finish(self._wait_s)
                self._upload = None
            if self._mode == "online":
                self._tell(self._folder)

    def _shown(self, samples: list[ShownSample]) -> dict[str, Any]:
        columns = ["id", "question", "references", "prediction", "score", "kept"]
        table = load().Table(columns=columns)
        for one in samples:
            texts = map(printable, (one.id, one.question, ", ".join(one.references), one.prediction))
            table.add_data(*texts, one.score, one.kept)
        # Bound to the run, it is a file of the log. Otherwise it, too, would become an artifact, which W&B
        # keeps outside the run directory until it is sent.
        table.bind_to_run(self._run, "samples", self._run.step)
        # Not in the table, which would store its pictures outside the run directory.
        pictures = [
            load().Image(one.picture, caption=printable(f"{one.id}: {one.question} {one.prediction}"))
            for one in samples
            if one.picture is not None
        ]
        return {"samples": table, **({"kept_tokens": pictures} if pictures else {})}

    def _start_upload(self) -> None:
        self._upload = Upload(self._folder)

    def _tell(self, log_folder: Path) -> None:
        """Print where an uploaded run is, or the command that sends the rest."""
        if is_sent(log_folder):
            note(f"W&B: {sent_to(log_folder)}")
        else:
            see = f"see {output_file(log_folder)}"
            note(f"W&B: not everything was sent so far ({see}); send it with: {sync_command(log_folder)}")

    def _digest(self, summary: dict[str, Any]) -> str:
        return digest_of(self._project, self._entity, summary)

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever W&B raises, the run continues
            self._run = None
            leave_service()
            if self._upload is not None:
                self._upload.abandon()
                self._upload = None
            text = (
                f"W&B: stopped tracking this run: {reason(error)}; once it is finished, the same command "
                "logs it from its result"
            )
            note(text)
            log.warning("%s", text)

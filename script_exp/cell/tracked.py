"""What a tracker shows of a cell."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.rules.metric import MeanScore
from script_exp.cell.prepared import RunCell
from script_exp.errors import UserError
from script_exp.models.prunable import PrunableModel
from script_exp.results.metrics import final_metrics
from script_exp.results.overlay import kept_overlay
from script_exp.results.record import SampleRecord
from script_exp.results.result_file import read_result_of
from script_exp.results.run_directory import RunDirectory
from script_exp.results.tracker import ShownSample, TrackedRun
from script_exp.terminal.progress import note

log = logging.getLogger(__name__)

SHOWN_SAMPLES = 8
"""Samples that the tracker shows."""


def tracked_run(cell: RunCell, folder: Path) -> TrackedRun:
    """Return the run as the tracker lists it; ``folder`` is its directory."""
    names = [cell.settings.model.name, cell.settings.benchmark["name"]]
    return TrackedRun(
        name="-".join([*names, cell.name]),
        run_id=cell.identity,
        group=cell.settings.group or "-".join(names),
        tags=[*names, cell.settings.pruner["name"]],
        config=cell.resolved_config(),
        folder=folder,
    )


def metrics_of(cell: RunCell, result: dict[str, Any]) -> dict[str, Any]:
    """Return the final metrics of a finished run; with the retained accuracy if the unpruned run is there."""
    identity = result["unpruned_identity"]
    try:
        unpruned = read_result_of(identity, cell.directory_of_unpruned(identity) / "result.json")
    except UserError:  # the command names a damaged unpruned run where it compares with it
        unpruned = None
    return final_metrics(result, unpruned)


def log_finished(cell: RunCell, result: dict[str, Any]) -> None:
    """Give the tracker a finished run that it does not have yet, from its files; never run it.

    Raises:
        RunIsBusyError: if another process is working on the run.
    """
    if cell.tracker.keeps_logs and not cell.tracker.has_logged(cell.directory, metrics_of(cell, result)):
        with RunDirectory(cell.directory) as directory:
            track_finished(cell, directory, result)


def track_finished(cell: RunCell, directory: RunDirectory, result: dict[str, Any]) -> None:
    """Log a finished run from its files, without the model, unless the tracker has it already."""
    run, summary = tracked_run(cell, directory.path), metrics_of(cell, result)
    if cell.tracker.has_logged(run.folder, summary):
        return
    records: list[SampleRecord] = []
    if directory.samples_file.exists():  # not for random weights
        try:
            records = list(directory.all_records([sample.id for sample in cell.samples()]).values())
        except UserError as error:
            note(f"W&B: this run is not logged: {error}")
            return
    cell.tracker.start(run)
    log_answers(cell, records)
    cell.tracker.finish(summary)


def log_answers(cell: RunCell, records: Sequence[SampleRecord]) -> None:
    """Log all answers of a run that is not answering anything."""
    log_history(cell, records)
    if records:
        cell.tracker.show(_shown(record) for record in records[:SHOWN_SAMPLES])


def log_history(cell: RunCell, records: Sequence[SampleRecord]) -> None:
    """Log the running mean of earlier answers, batch by batch, so that each log holds the whole run."""
    name = running_mean(cell)
    if name is None:
        return
    done, total = 0, 0.0
    while done < len(records):
        batch = records[done : done + max(1, records[done].batch)]
        done += len(batch)
        total += sum(record.score for record in batch)
        cell.tracker.log({f"{name}/running": total / done}, step=done)


def running_mean(cell: RunCell) -> str | None:
    """Return the name of the mean score so far; None if a server or a judge scores later."""
    if not cell.benchmark.is_scored:
        return None
    return "accuracy" if isinstance(cell.benchmark.metric, MeanScore) else "mean score"


def shown_samples(
    model: PrunableModel,
    samples: Sequence[Sample],
    new: dict[str, SampleRecord],
    records: dict[str, SampleRecord],
) -> Iterator[ShownSample]:
    """Yield a few samples: those answered just now, whose kept tokens are known, then earlier ones."""
    names = [*new, *(name for name in records if name not in new)][:SHOWN_SAMPLES]
    for sample in samples:
        if sample.id in names:
            record = new.get(sample.id, records[sample.id])
            try:
                picture = _picture(model, sample, record)
            except Exception as error:  # the picture is lost, the rest is shown
                picture = None
                text = f"W&B: no picture of sample {sample.id}: {type(error).__name__}: {error}"
                note(text)
                log.warning("%s", text)
            yield _shown(record, picture)


def _picture(model: PrunableModel, sample: Sample, record: SampleRecord) -> Image.Image | None:
    """Return a picture of the kept tokens, if they are known and a grid of patches."""
    if record.kept_indices is None:
        return None
    processed = model.process(*sample.visuals())
    pictures = model.adapter.pictures(model.processing.image_processor, processed)
    grid = model.adapter.token_grid(processed)
    return None if grid is None else kept_overlay(pictures, record.kept_indices, grid)


def _shown(record: SampleRecord, picture: Image.Image | None = None) -> ShownSample:
    return ShownSample(
        record.id,
        record.question,
        record.references,
        record.prediction,
        record.score,
        record.kept,
        picture,
    )

"""What a tracker shows of a cell."""

from __future__ import annotations

from pathlib import Path

from script_exp.benchmarks.base import Sample
from script_exp.cell.prepared import RunCell
from script_exp.models.prunable import PrunableModel
from script_exp.results.overlay import kept_overlay
from script_exp.results.record import SampleRecord
from script_exp.results.tracker import ShownSample, TrackedRun


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


def shown_sample(model: PrunableModel, sample: Sample, record: SampleRecord) -> ShownSample:
    """Return an answered sample with a picture of the kept tokens, if they form a grid that can be drawn."""
    pictures = model.adapter.pictures(model.processing.image_processor, model.process(sample.visual()))
    tokens = model.adapter.tokens_per_crop(model.model.config)  # includes tokens that are cut off as padding
    picture = None
    if pictures is not None and tokens is not None:
        picture = kept_overlay(pictures, record.kept_indices or [], tokens)
    return ShownSample(
        record.id,
        record.question,
        record.references,
        record.prediction,
        record.score,
        record.kept,
        picture,
    )

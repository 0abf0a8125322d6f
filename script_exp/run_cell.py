"""One cell from its settings to its result: load, answer, measure, write."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from script_exp.benchmarks.base import Sample
from script_exp.cell import RunCell
from script_exp.console import Progress, note
from script_exp.errors import UserError
from script_exp.evaluate import Skipped, answer, count_tokens
from script_exp.measure.latency import Latency, LatencyInput, measure_latency
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, NoPruning, Pruner
from script_exp.results.files import write_atomically
from script_exp.results.metrics import final_metrics
from script_exp.results.record import SCHEMA_VERSION, RunResult, SampleRecord, SampleTokens
from script_exp.results.run_directory import RunDirectory, read_result
from script_exp.results.summarize import (
    summarize_accuracy,
    summarize_costs,
    summarize_latency,
    summarize_tokens,
)

log = logging.getLogger(__name__)

# Samples that the latency pass rotates among, and that the sizes of random weights are taken from.
_MEASURED_SAMPLES = 8


def run_cell(cell: RunCell) -> dict[str, Any]:
    """Run a cell, or go on with it where it stopped; a finished one is only read.

    Returns:
        the contents of ``result.json``.

    Raises:
        UserError: if the directory cannot be written, is damaged, or another process is running it.
    """
    with RunDirectory(cell.directory) as directory:
        done = directory.finished_result()
        if done is not None and (done["latency"] is not None or cell.settings.latency == "off"):
            note(f"finished already, only read: {directory.path}")
            return done
        with _log_to(directory.path / "run.log"):
            try:
                directory.start(yaml.safe_dump(cell.resolved_config(), sort_keys=False), cell.provenance())
                directory.finish(_run(cell, directory))
                result = read_result(directory.result_file)
                cell.tracker.finish(final_metrics(result))
            except BaseException as error:
                log.exception("run failed")
                cell.tracker.finish({}, failed=True)
                directory.set_status("failed", f"{type(error).__name__}: {error}")
                raise
        return result


def read_finished(cell: RunCell) -> dict[str, Any] | None:
    """The result of a cell if it is finished, without running it."""
    file = cell.directory / "result.json"
    return read_result(file) if file.exists() else None


def _run(cell: RunCell, directory: RunDirectory) -> RunResult:
    settings = cell.settings
    model = cell.load()
    samples = cell.samples()
    cell.tracker.start(
        name=f"{settings.model.name}-{settings.benchmark['name']}-{cell.name}",
        run_id=cell.identity,
        group=f"{settings.model.name}-{settings.benchmark['name']}",
        tags=[settings.model.name, settings.benchmark["name"], settings.pruner["name"]],
        config=cell.resolved_config(),
        folder=directory.path,
    )
    sizes: Sequence[SampleTokens]
    skipped = Skipped(allowed=cell.benchmark.skips_errors)
    if settings.model.weights == "random":
        accuracy = None
        sizes = count_tokens(model, cell.pruner, _measured(samples, skipped))
    else:
        records = _answer(cell, model, samples, directory, skipped)
        accuracy = None
        if cell.benchmark.is_scored:
            limited = settings.limit is not None
            accuracy = summarize_accuracy(cell.benchmark.metric, records, limited, len(skipped.reasons))
        submission = cell.benchmark.submission({record.id: record.answer for record in records})
        if submission is not None:
            name, contents = submission
            write_atomically(directory.path / name, contents)
        sizes = records
    measured = _measured([sample for sample in samples if sample.id not in skipped.reasons], skipped)
    latencies = _latency(cell, model, measured) if settings.latency == "on" else None
    flops, cache = summarize_costs(model, cell.pruner, sizes)
    return RunResult(
        schema_version=SCHEMA_VERSION,
        status="finished",
        identity=cell.identity,
        unpruned_identity=cell.unpruned().identity,
        cell=cell.cell,
        accuracy=accuracy,
        tokens=summarize_tokens(sizes, settings.budget),
        flops=flops,
        kv_cache_bytes=cache,
        latency=summarize_latency(latencies["pruned"], latencies["unpruned"]) if latencies else None,
        peak_memory_bytes=latencies["pruned"].peak_bytes if latencies else None,
        provenance=directory.sessions(),
    )


def _answer(
    cell: RunCell, model: PrunableModel, samples: Sequence[Sample], directory: RunDirectory, skipped: Skipped
) -> list[SampleRecord]:
    """Answer what is not answered yet; the records of all samples that load, in order."""
    records = directory.answered(sample.id for sample in samples)
    log.info("%s: %d of %d samples are answered already", directory.path, len(records), len(samples))
    pending = [sample for sample in samples if sample.id not in records]
    with Progress(cell.name, len(samples), [record.score for record in records.values()]) as progress:
        for batch in answer(model, cell.benchmark, cell.pruner, pending, cell.settings.batch_size, skipped):
            directory.append(batch)
            records |= {record.id: record for record in batch}
            accuracy = progress.advance([record.score for record in batch])
            cell.tracker.log({"accuracy/running": accuracy}, step=len(records))
    directory.write_skipped(skipped.reasons)
    for name, why in skipped.reasons.items():
        log.warning("skipped sample %s: %s", name, why)
    if not records:
        raise UserError(f"all {len(samples)} samples were skipped: {directory.skipped_file} says why")
    return [records[sample.id] for sample in samples if sample.id in records]


def _measured(samples: Sequence[Sample], skipped: Skipped) -> Sequence[Sample]:
    """A few samples from the whole benchmark, loaded."""
    return skipped.loaded(samples[:: max(1, len(samples) // _MEASURED_SAMPLES)][:_MEASURED_SAMPLES])


def _latency(cell: RunCell, model: PrunableModel, samples: Sequence[Sample]) -> dict[str, Latency]:
    """The pruned and the unpruned model side by side; the unpruned one has only itself."""
    inputs = [
        LatencyInput(sample.visual(), model.chat_prompt(sample.prompt), sample.question) for sample in samples
    ]
    pruners: dict[str, Pruner | LayerPruner] = {"unpruned": NoPruning()}
    if not isinstance(cell.pruner, NoPruning):
        pruners["pruned"] = cell.pruner
    log.info("measuring latency on %d samples", len(inputs))
    latencies = measure_latency(model, inputs, pruners)
    return {"pruned": latencies["unpruned"], **latencies}


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send the log of this package to a file while a cell runs."""
    logger = logging.getLogger("script_exp")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()

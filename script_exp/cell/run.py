"""Run one cell from its settings to its result: load, answer, measure, write."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from shlex import quote
from typing import Any

import torch
import yaml

from script_exp.benchmarks.base import Sample, spread_over
from script_exp.cell.agreement import check_agrees, prompt_problem, without_disagreeing
from script_exp.cell.answer import Answering, BatchSize, count_tokens
from script_exp.cell.finished import check_kept, note_changes, read_finished
from script_exp.cell.prepared import RunCell
from script_exp.cell.skipped import Skipped
from script_exp.cell.tracked import (
    SHOWN_SAMPLES,
    log_answers,
    log_history,
    metrics_of,
    running_mean,
    shown_samples,
    track_finished,
    tracked_run,
)
from script_exp.errors import UserError
from script_exp.measure.latency import Latency, LatencyInput, measure_latency
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, NoPruning, Pruner
from script_exp.results.files import write_atomically
from script_exp.results.heartbeat import Heartbeat
from script_exp.results.record import SCHEMA_VERSION, Accuracy, RunResult, SampleRecord, SampleTokens
from script_exp.results.result_file import read_result
from script_exp.results.run_directory import LET_GO_S, RunDirectory, RunIsBusyError
from script_exp.results.run_log import log_to
from script_exp.results.scoring import outcome, score_again
from script_exp.results.summarize import summarize_costs, summarize_latency, summarize_tokens
from script_exp.terminal.progress import Progress, note

log = logging.getLogger(__name__)

# Samples that the latency pass rotates through, and whose prompt sizes are counted for random weights.
_MEASURED_SAMPLES = {"image": 8, "video": 2}


def run_cell(cell: RunCell) -> dict[str, Any] | None:
    """Run or resume a cell or its shard; a finished cell is not run again.

    Returns:
        the contents of ``result.json``; None if other shards are not finished yet.

    Raises:
        UserError: if the directory is damaged or not writable, or another process is running the cell.
    """
    if cell.settings.shards == 1 or read_finished(cell) is not None:
        return _run_whole(cell)
    return _run_shard(cell)


def _run_whole(cell: RunCell, patience: float = 0) -> dict[str, Any]:
    cell = replace(cell, settings=replace(cell.settings, shards=1, shard=None))
    with RunDirectory(cell.directory, patience) as directory:
        done = read_finished(cell)
        if done is not None:
            check_agrees(cell.benchmark, cell.samples(), directory, done)
        directory.check_identity(cell.identity)
        if done is not None and (done["latency"] is not None or cell.settings.latency == "off"):
            check_kept(cell, directory)
            note(f"already finished: {directory.path}")
            note_changes(cell, directory)
            if done.get("rule_version", 1) != cell.benchmark.rule_version:
                here = quote(str(directory.path))
                note(f"scored by an earlier rule; update it with python runners/score.py {here}")
            if not directory.is_finished():  # the process was stopped after it wrote the result
                with suppress(UserError):  # on a disk that can only be read
                    directory.set_status("finished")
            track_finished(cell, directory, done)
            return done
        directory.merge_shards([sample.id for batch in cell.batches() for sample in batch])
        with _working_on(cell, directory):
            directory.finish(_run(cell, directory))
        result = read_result(directory.result_file)
        cell.tracker.finish(metrics_of(cell, result))
        return result


def _run_shard(cell: RunCell) -> dict[str, Any] | None:
    """Answer a shard's samples; the last shard to finish merges them all."""
    count, number = cell.settings.shards, cell.settings.shard or 0
    whole = RunDirectory(cell.directory)
    with whole.shard(number, count) as directory:
        directory.check_identity(cell.identity)
        if not directory.is_finished():
            with _working_on(cell, directory):
                if cell.batches():  # there may be fewer batches than shards
                    _answer(cell, cell.load(), directory, _skipped(cell))
                directory.set_status("finished")
    waiting = [other for other in range(count) if not whole.shard(other, count).is_finished()]
    if waiting:
        note(f"shard {number} of {count} is finished; still missing: {', '.join(map(str, waiting))}")
        return None
    try:
        return _run_whole(cell, patience=LET_GO_S)
    except RunIsBusyError as error:
        note(f"all {count} shards are finished; another process merges them: {error}")
        return None


@contextmanager
def _working_on(cell: RunCell, directory: RunDirectory) -> Iterator[None]:
    """Write the log and the status while a cell, or a shard of it, runs."""
    with log_to(directory.path / "run.log"), Heartbeat(directory.status_file):
        try:
            note_changes(cell, directory)
            config = yaml.safe_dump(cell.resolved_config(), sort_keys=False)
            directory.start(config, cell.identified_by, cell.provenance())
            with _memory_told():
                yield
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            log.exception("run %s", state)
            with suppress(UserError):  # on a full disk, which the error itself reports
                directory.set_status(state, f"{type(error).__name__}: {error}")
            cell.tracker.finish({}, failed=True)
            raise


@contextmanager
def _memory_told() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU is out of memory; use a smaller batch_size or dtype, or a GPU with more free memory"
        ) from error


def _run(cell: RunCell, directory: RunDirectory) -> RunResult:
    settings = cell.settings
    before = directory.finished_result()  # exists if only the latency is added now
    model = cell.load()
    samples = cell.samples()
    cell.tracker.start(tracked_run(cell, directory.path))
    sizes: Sequence[SampleTokens]
    skipped = _skipped(cell)
    accuracy = None
    if settings.model.weights == "random":
        sizes = count_tokens(model, cell.pruner, _measured(cell, model, samples, skipped))
    elif before is not None:  # only runners/score.py changes a score
        answered = directory.all_records([sample.id for sample in samples])
        samples = [sample for sample in samples if sample.id in answered]
        accuracy = Accuracy(**before["accuracy"]) if before["accuracy"] else None
        sizes = [answered[sample.id] for sample in samples]
        log_answers(cell, list(answered.values()))
    else:
        records = _answer(cell, model, directory, skipped)
        if not records:
            raise UserError(f"all {len(samples)} samples were skipped; see {directory.skipped_file}")
        samples = [sample for sample in samples if sample.id not in skipped.reasons]
        accuracy, submission = outcome(
            cell.benchmark, records, settings.limit is not None, len(skipped.reasons)
        )
        if submission is not None:
            name, contents = submission
            write_atomically(directory.path / name, contents)
        sizes = records
    latencies = None
    if settings.latency == "on":
        latencies = _latency(cell, model, _measured(cell, model, samples, skipped))
    flops, cache = summarize_costs(model, cell.pruner, sizes)
    return RunResult(
        schema_version=SCHEMA_VERSION,
        status="finished",
        identity=cell.identity,
        unpruned_identity=cell.unpruned().identity,
        cell=cell.as_recorded,
        accuracy=accuracy,
        tokens=summarize_tokens(sizes, settings.budget),
        flops=flops,
        kv_cache_bytes=cache,
        latency=summarize_latency(latencies["pruned"], latencies["unpruned"]) if latencies else None,
        peak_memory_bytes=latencies["pruned"].peak_bytes if latencies else None,
        provenance=directory.sessions(),
        rule_version=before.get("rule_version", 1) if before else cell.benchmark.rule_version,
        rescored=before.get("rescored", []) if before else [],
    )


def _answer(
    cell: RunCell, model: PrunableModel, directory: RunDirectory, skipped: Skipped
) -> list[SampleRecord]:
    """Answer what is not answered yet; return the records of all samples that load, in order."""
    batches = cell.batches()
    samples = [sample for batch in batches for sample in batch]
    records = directory.answered(sample.id for sample in samples)
    check_kept(cell, directory)
    if any(record.rule != cell.benchmark.rule_version for record in records.values()):
        records = score_again(cell.benchmark, samples, records)
        directory.replace_records(records.values())
    before = len(records)
    records, problems = without_disagreeing(
        cell.benchmark, samples, records, partial(prompt_problem, model, cell.pruner)
    )
    if problems:
        note(f"{directory.samples_file}: {before - len(records)} answers are asked again: {problems[0]}")
        directory.replace_records(records.values())
    log.info("%s: %d of %d samples already answered", directory.path, len(records), len(samples))
    directory.set_progress(len(records), len(samples))
    # Repeat whole batches even if some of their answers exist, because other batches round differently.
    pending = [batch for batch in batches if any(sample.id not in records for sample in batch)]
    pending = [asked for batch in pending if (asked := skipped.askable(model, batch))]
    answering = Answering(
        model,
        cell.benchmark,
        cell.pruner,
        cell.features(),
        skipped,
        BatchSize(cell.settings.batch_size, cell.benchmark.modality),
    )
    shown: dict[str, SampleRecord] = {}
    label = running_mean(cell)
    log_history(cell, list(records.values()))
    scores = [record.score for record in records.values()]
    with Progress(cell.name, len(samples), scores, label) as progress:
        for answered in answering.answer(pending):
            new = [record for record in answered if record.id not in records]
            shown |= {record.id: record for record in new[: SHOWN_SAMPLES - len(shown)]}
            if not cell.settings.record_kept:
                new = [replace(record, kept_indices=None) for record in new]
            directory.append(new)
            records |= {record.id: record for record in new}
            mean = progress.advance([record.score for record in new])
            if label is not None:
                cell.tracker.log({f"{label}/running": mean}, step=len(records))
    cell.tracker.show(shown_samples(model, samples, shown, records))
    directory.write_skipped(skipped.reasons)
    for name, why in skipped.reasons.items():
        log.warning("skipped sample %s: %s", name, why)
    return [records[sample.id] for sample in samples if sample.id in records]


def _skipped(cell: RunCell) -> Skipped:
    """Return the skipped samples, starting with the entries that the benchmark's files already lack."""
    return Skipped(cell.benchmark.skips_errors, dict(cell.benchmark.left_out))


def _measured(
    cell: RunCell, model: PrunableModel, samples: Sequence[Sample], skipped: Skipped
) -> Sequence[Sample]:
    """Return a few loaded samples, spread over the whole benchmark."""
    return skipped.loaded(model, spread_over(samples, _MEASURED_SAMPLES[cell.benchmark.modality]))


def _latency(cell: RunCell, model: PrunableModel, samples: Sequence[Sample]) -> dict[str, Latency]:
    """Measure the pruned and the unpruned model side by side; an unpruned cell only itself."""
    inputs = [
        LatencyInput(sample.visuals(), model.chat_prompt(sample.prompt, sample.images), sample.query)
        for sample in samples
    ]
    pruners: dict[str, Pruner | LayerPruner] = {"unpruned": NoPruning()}
    if not isinstance(cell.pruner, NoPruning):
        pruners["pruned"] = cell.pruner
    log.info("measuring latency on %d samples", len(inputs))
    latencies = measure_latency(model, inputs, pruners)
    return {"pruned": latencies["unpruned"], **latencies}

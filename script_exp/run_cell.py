"""One run from its settings to its result: check, find the directory, load, answer, measure, write."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.build import build_benchmark, build_pruner, build_tracker
from script_exp.console import Progress, note
from script_exp.errors import SettingError, UserError
from script_exp.evaluate import answer
from script_exp.measure.flops import count_pruner
from script_exp.measure.latency import Latency, LatencyInput, measure_latency
from script_exp.models.load import Checkpoint, find_checkpoint, load_model, resolve_device, resolve_dtype
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, NoPruning, Pruner
from script_exp.pruners.base import non_default_fields
from script_exp.results.provenance import provenance
from script_exp.results.record import SCHEMA_VERSION, Cell, RunResult, SampleRecord
from script_exp.results.run_directory import RunDirectory, identity_hash, read_result
from script_exp.results.summarize import (
    summarize_accuracy,
    summarize_costs,
    summarize_latency,
    summarize_tokens,
)
from script_exp.results.tracker import Tracker
from script_exp.settings import RunSettings

log = logging.getLogger(__name__)

# Samples that the latency pass rotates among.
_LATENCY_SAMPLES = 8
_UNPRUNED = {"_target_": "script_exp.pruners.NoPruning", "name": "none"}


@dataclass(frozen=True)
class RunCell:
    """A checked cell, before anything heavy is loaded.

    Attributes:
        settings: the settings.
        checkpoint: the model's folder.
        benchmark: its samples are not read yet.
        pruner: the method with its budget.
        tracker: where metrics go; not opened yet.
        device: where it runs.
        dtype: of the weights.
    """

    settings: RunSettings
    checkpoint: Checkpoint
    benchmark: Benchmark
    pruner: Pruner | LayerPruner
    tracker: Tracker
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def prepare(cls, settings: RunSettings) -> RunCell:
        """Check everything that can be checked without loading a model.

        Raises:
            UserError: for the first thing that is not right.
        """
        pruner = build_pruner(settings)
        benchmark = build_benchmark(settings)
        checkpoint = find_checkpoint(settings.model["path"], settings.model["clip"])
        if pruner.needs_query and not checkpoint.has_clip:
            raise UserError(
                f"model.clip={settings.model['clip']}: no model.safetensors in {checkpoint.clip}; "
                f"pruner={settings.pruner['name']} needs the text tower of the CLIP that the tower came from"
            )
        try:
            if isinstance(pruner, LayerPruner):
                pruner.kept_after(checkpoint.tokens_per_crop, checkpoint.llm_layers)
            else:
                pruner.kept_of(checkpoint.tokens_per_crop)
        except SettingError as error:
            raise error.within("pruner") from error
        tracker = build_tracker(settings)
        device = resolve_device(settings.device)
        dtype = resolve_dtype(settings.dtype, device, checkpoint.config.dtype)
        return cls(settings, checkpoint, benchmark, pruner, tracker, device, dtype)

    def unpruned(self) -> RunCell:
        """The cell of the unpruned model with otherwise the same settings."""
        return RunCell.prepare(replace(self.settings, pruner=_UNPRUNED, budget=None))

    @property
    def name(self) -> str:
        """``pruner-budget-seed``, readable."""
        budget = [] if self.settings.budget is None else [str(self.settings.budget)]
        return "-".join([self.settings.pruner["name"], *budget, f"s{self.settings.seed}"])

    @cached_property
    def identity(self) -> str:
        """Hash of every setting that can change a result."""
        used = {
            "prompt_version": self.benchmark.prompt_version,
            "checkpoint": self.checkpoint.fingerprint(with_clip=self.pruner.needs_query),
            "relevance_sign": self.settings.model["relevance_sign"] if self.pruner.needs_query else None,
            "device": self.device.type,
            "dtype": str(self.dtype),
        }
        return identity_hash(self.settings.result_relevant() | used)

    @property
    def directory(self) -> Path:
        """``outputs/model/benchmark/pruner-budget-seed-hash``."""
        settings = self.settings
        group = f"{settings.model['name']}/{settings.benchmark['name']}"
        return settings.outputs / group / f"{self.name}-{self.identity}"

    @property
    def cell(self) -> Cell:
        settings = self.settings
        changed = non_default_fields(self.pruner)
        if changed.get("seed") == settings.seed:
            del changed["seed"]
        return Cell(
            model=settings.model["name"],
            benchmark=settings.benchmark["name"],
            pruner=settings.pruner["name"],
            budget=settings.budget,
            seed=settings.seed,
            variant=", ".join(f"{key}={value}" for key, value in changed.items()),
        )

    def resolved_config(self) -> dict[str, Any]:
        """Every setting with the value that is used."""
        used = {"outputs": str(self.settings.outputs), "device": str(self.device), "dtype": str(self.dtype)}
        return {**vars(self.settings), **used}

    def provenance(self) -> dict[str, Any]:
        """Code, versions and machine of this process."""
        return provenance(self.settings.model["path"], self.device, self.dtype, self.settings.attention)

    def load(self) -> PrunableModel:
        """The model; cells of one process that share it load it once."""
        return _load(
            self.checkpoint.folder,
            self.checkpoint.clip,
            self.device,
            self.dtype,
            self.settings.attention,
            self.settings.model["relevance_sign"],
        )

    def samples(self) -> Sequence[Sample]:
        """The benchmark's samples, the first ``limit`` of them."""
        return self.benchmark.samples()[: self.settings.limit]


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
                cell.tracker.finish(_metrics(result))
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
    records = directory.answered(sample.id for sample in samples)
    log.info("%s: %d of %d samples are answered already", directory.path, len(records), len(samples))
    cell.tracker.start(
        name=f"{settings.model['name']}-{settings.benchmark['name']}-{cell.name}",
        run_id=cell.identity,
        group=f"{settings.model['name']}-{settings.benchmark['name']}",
        tags=[settings.model["name"], settings.benchmark["name"], settings.pruner["name"]],
        config=cell.resolved_config(),
        folder=directory.path,
    )
    pending = [sample for sample in samples if sample.id not in records]
    with Progress(cell.name, len(samples), [record.score for record in records.values()]) as progress:
        for batch in answer(model, cell.benchmark, cell.pruner, pending, settings.batch_size):
            directory.append(batch)
            records |= {record.id: record for record in batch}
            accuracy = progress.advance([record.score for record in batch])
            cell.tracker.log({"accuracy/running": accuracy}, step=len(records))
    ordered = [records[sample.id] for sample in samples]
    latencies = _latency(cell, model, samples) if settings.latency == "on" else None
    return _result(cell, model, samples[0], ordered, latencies, directory.sessions())


def _latency(cell: RunCell, model: PrunableModel, samples: Sequence[Sample]) -> dict[str, Latency]:
    """The pruned and the unpruned model side by side; the unpruned one has only itself."""
    spaced = samples[:: max(1, len(samples) // _LATENCY_SAMPLES)][:_LATENCY_SAMPLES]
    inputs = [
        LatencyInput(sample.image(), model.chat_prompt(cell.benchmark.prompt(sample)), sample.question)
        for sample in spaced
    ]
    pruners: dict[str, Pruner | LayerPruner] = {"unpruned": NoPruning()}
    if not isinstance(cell.pruner, NoPruning):
        pruners["pruned"] = cell.pruner
    log.info("measuring latency on %d samples", len(inputs))
    latencies = measure_latency(model, inputs, pruners)
    return {"pruned": latencies["unpruned"], **latencies}


def _result(
    cell: RunCell,
    model: PrunableModel,
    first: Sample,
    records: Sequence[SampleRecord],
    latencies: dict[str, Latency] | None,
    sessions: list[dict[str, Any]],
) -> RunResult:
    pruner_flops = _pruner_flops(cell, model, first)
    flops, cache = summarize_costs(model, cell.pruner, records, pruner_flops)
    return RunResult(
        schema_version=SCHEMA_VERSION,
        status="finished",
        identity=cell.identity,
        unpruned_identity=cell.unpruned().identity,
        cell=cell.cell,
        accuracy=summarize_accuracy(records, partial=cell.settings.limit is not None),
        tokens=summarize_tokens(records, cell.settings.budget),
        flops=flops,
        kv_cache_bytes=cache,
        latency=summarize_latency(latencies["pruned"], latencies["unpruned"]) if latencies else None,
        peak_memory_bytes=latencies["pruned"].peak_bytes if latencies else None,
        provenance=sessions,
    )


def _pruner_flops(cell: RunCell, model: PrunableModel, sample: Sample) -> int:
    """The pruner's operations on one sample; they depend on the sizes only."""
    prompt = model.chat_prompt(cell.benchmark.prompt(sample))
    inputs = model.preprocess([sample.image()], [prompt])
    image = model.encode_images(inputs, with_joint=cell.pruner.needs_query)[0]
    query = model.encode_queries([sample.question])[0] if cell.pruner.needs_query else None
    return count_pruner(cell.pruner, image.visual, query)


@lru_cache(maxsize=1)
def _load(
    folder: Path, clip: Path, device: torch.device, dtype: torch.dtype, attention: str, sign: int
) -> PrunableModel:
    config = find_checkpoint(str(folder), str(clip))
    return load_model(config, device=device, dtype=dtype, attention=attention, relevance_sign=sign)


def _metrics(result: dict[str, Any]) -> dict[str, Any]:
    """The final metrics under the names that the tracker shows."""
    metrics = {
        "accuracy/value": result["accuracy"]["value"],
        "accuracy/ci95_low": result["accuracy"]["ci95"][0],
        "accuracy/ci95_high": result["accuracy"]["ci95"][1],
        "accuracy/n": result["accuracy"]["n"],
        **{f"accuracy/{kind}": value for kind, value in result["accuracy"]["by_kind"].items()},
        "tokens/kept": result["tokens"]["kept"],
        "tokens/layer_average": result["tokens"]["layer_average"],
        "flops/prefill_total": result["flops"]["prefill_total"],
        "flops/llm_visual_only": result["flops"]["llm_visual_only"],
        "memory/kv_cache_bytes": result["kv_cache_bytes"],
    }
    if result["latency"]:
        metrics["latency/llm_prefill_ms"] = result["latency"]["llm_prefill_ms"]
        metrics["latency/ttft_ms"] = result["latency"]["ttft_ms"]
        metrics["latency/llm_prefill_speedup"] = result["latency"]["llm_prefill_speedup"]
    if result["peak_memory_bytes"] is not None:
        metrics["memory/peak_bytes"] = result["peak_memory_bytes"]
    return metrics


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

"""A cell: one model, benchmark, pruner, budget and seed, checked before anything heavy is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.reading.ahead import in_batches
from script_exp.benchmarks.reading.frame_count import frame_setting
from script_exp.cell.answer import BatchSize
from script_exp.cell.build import build_benchmark, build_pruner, build_tracker
from script_exp.cell.fit import check_fit, check_frames, check_here
from script_exp.config.renamed import first_name
from script_exp.config.settings import PROTOCOL_VERSION, RunSettings
from script_exp.errors import UserError
from script_exp.models.compiled import compile_prefill, forget_compiled, is_compiled
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.loading.checkpoint import Checkpoint, find_checkpoint
from script_exp.models.loading.load import (
    load_model,
    load_query_encoder,
    resolve_device,
    resolve_dtype,
)
from script_exp.models.loading.quantization import packages_of, quantized_by
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, NoPruning, Pruner
from script_exp.pruners.contract.settings import all_fields, non_default_fields
from script_exp.results.code_version import file_hash
from script_exp.results.provenance import provenance
from script_exp.results.record import Cell
from script_exp.results.run_identity import identity_hash
from script_exp.results.tracker import Tracker

_UNPRUNED = {"_target_": "script_exp.pruners.NoPruning", "name": "none"}


@dataclass(frozen=True)
class RunCell:
    """A checked cell, before anything heavy is loaded.

    Attributes:
        settings: the settings.
        checkpoint: the model's folder.
        benchmark: the benchmark; its samples are not read yet.
        pruner: the method with its budget.
        tracker: where metrics go; not opened yet.
        device: the device it runs on.
        dtype: dtype of the weights.
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
            UserError: for the first setting that is wrong.
        """
        cell = cls._checked(settings)
        check_frames(settings, cell.benchmark, cell.checkpoint, cell._shortens_prompt)
        return cell

    @classmethod
    def _checked(cls, settings: RunSettings) -> RunCell:
        pruner = build_pruner(settings)
        if isinstance(pruner, Pruner) and pruner.draws and "seed" not in settings.pruner:
            raise UserError(
                "pruner.seed is missing: expected seed: ${seed} in the config of a method that draws"
            )
        if settings.query_text is None:
            settings = replace(settings, query_text=pruner.query_text)
        found = find_checkpoint(settings.model.wanted, needs_query=pruner.needs_query)
        settings = _as_model_takes(settings, found)
        benchmark = build_benchmark(settings.benchmark)
        settings = replace(settings, benchmark=benchmark.in_full(settings.benchmark))
        checkpoint = found.taking(benchmark.modality)
        check_fit(settings, benchmark, pruner, checkpoint)
        tracker = build_tracker(settings)
        device = resolve_device(settings.device)
        dtype = resolve_dtype(settings.dtype, device, checkpoint.config.dtype)
        check_here(settings, pruner, checkpoint, device, dtype)
        return cls(settings, checkpoint, benchmark, pruner, tracker, device, dtype)

    def unpruned(self) -> RunCell:
        """Return the cell of the unpruned model with otherwise the same settings.

        The LLM may have too few positions to run it; :meth:`load` checks that.
        """
        return RunCell._checked(replace(self.settings, pruner=_UNPRUNED, budget=None, seed=0))

    @property
    def name(self) -> str:
        """The readable part of the directory's name: ``pruner-budget-seed``."""
        budget = [] if self.settings.budget is None else [str(self.settings.budget)]
        return "-".join([self.settings.pruner["name"], *budget, f"s{self.settings.seed}"])

    @cached_property
    def identified_by(self) -> dict[str, Any]:
        """Every setting that can change a result."""
        model = self.settings.model
        shortened = self._shortens_prompt  # otherwise the rules have no effect
        newline = shortened and self.checkpoint.adapter.has_separators
        used = {
            "prompt_version": self.benchmark.prompt_version,
            "max_new_tokens": self.benchmark.max_new_tokens,
            **({} if (samples := self.benchmark.fingerprint()) is None else {"samples": samples}),
            "checkpoint": self.checkpoint.fingerprint,
            "adapter": first_name(model.adapter),
            "relevance_sign": model.relevance_sign if self.pruner.needs_query else None,
            **({"query_text": "released"} if self._asks_as_released else {}),
            "conversation": model.conversation,
            "positions": model.positions if shortened else None,
            "newline": model.newline if newline else None,
            **({} if model.compile == "off" else {"compile": model.compile}),
            **({} if model.quantization == "off" else {"quantization": model.quantization}),
            "device": self.device.type,
            "dtype": str(self.dtype),
        }
        return self.settings.result_relevant() | used

    @cached_property
    def identity(self) -> str:
        """Hash of every setting that can change a result."""
        return identity_hash(self.identified_by)

    @property
    def directory(self) -> Path:
        """``outputs/model/benchmark/pruner-budget-seed-hash``."""
        settings = self.settings
        group = f"{settings.model.name}/{settings.benchmark['name']}"
        return settings.outputs / group / f"{self.name}-{self.identity}"

    def directory_of_unpruned(self, identity: str) -> Path:
        """Return the directory of the unpruned run with this identity, without preparing its cell."""
        return self.directory.with_name(f"{_UNPRUNED['name']}-s0-{identity}")

    @property
    def as_recorded(self) -> Cell:
        """The cell as ``result.json`` records it, with the pruner's non-default settings."""
        settings = self.settings
        changed = non_default_fields(self.pruner)
        for key in ("seed", "before.seed"):
            if changed.get(key) == settings.seed:
                del changed[key]
        if self.pruner.reads.question and settings.query_text != self.pruner.query_text:
            changed["query_text"] = settings.query_text
        return Cell(
            model=settings.model.name,
            benchmark=settings.benchmark["name"],
            pruner=settings.pruner["name"],
            budget=settings.budget,
            seed=settings.seed,
            variant=", ".join(f"{key}={value}" for key, value in changed.items()),
            pruner_settings=all_fields(self.pruner),
            benchmark_settings=settings.benchmark_rules(),
            prompt_version=self.benchmark.prompt_version,
            protocol_version=PROTOCOL_VERSION,
            limit=settings.limit,
            query_text=settings.query_text if self.pruner.reads.question else None,
        )

    def resolved_config(self) -> dict[str, Any]:
        """Return every setting with the value that is used."""
        dtype = str(self.dtype).removeprefix("torch.")
        used = {"outputs": str(self.settings.outputs), "device": str(self.device), "dtype": dtype}
        return {**vars(self.settings), "model": vars(self.settings.model), **used}

    def provenance(self) -> dict[str, Any]:
        """Return code, versions and machine of this process."""
        model, attention = self.settings.model, self.settings.attention
        circumstances = provenance(
            model.path, model.weights, self.device, self.dtype, attention, model.compile, model.placement
        )
        own = quantized_by(self.checkpoint.config) or model.quantization
        needed = packages_of(model.quantization, self.checkpoint.config)
        circumstances["packages"] |= {name: metadata.version(name) for name in needed}
        return circumstances | {
            "quantization": own,
            "pruner_code": self.pruner_code,
            "pictures": self.pictures,
        }

    @cached_property
    def pictures(self) -> str | None:
        """Hash of a few of the benchmark's pictures; None if they cannot be told or read."""
        return self.benchmark.pictures()

    @cached_property
    def pruner_code(self) -> str | None:
        """Hash of the files that define the pruner's class and its parts; None if there is no such file."""
        parts = [part for part in vars(self.pruner).values() if isinstance(part, Pruner | LayerPruner)]
        return file_hash(type(self.pruner), *map(type, parts))

    def load(self) -> PrunableModel:
        """Return the model; cells of one process that share it load it only once."""
        check_frames(self.settings, self.benchmark, self.checkpoint, self._shortens_prompt)
        settings = self.settings
        if self._model_key not in _loaded:
            compiled = any(is_compiled(model.adapter.llm) for model in _loaded.values())
            _loaded.clear()  # before loading, because two large models do not fit
            _features.clear()
            if compiled:
                forget_compiled()
            model = load_model(
                self.checkpoint,
                device=self.device,
                dtype=self.dtype,
                attention=settings.attention,
                placement=settings.model.placement,
                quantization=settings.model.quantization,
            )
            if settings.model.compile != "off":
                compile_prefill(model.adapter.llm, settings.model.compile)
            _loaded[self._model_key] = model
        model = _loaded[self._model_key]
        if self.pruner.needs_query and model.query_encoder is None:
            model.query_encoder = load_query_encoder(self.checkpoint, model)
        processing = replace(model.processing, conversation=settings.model.conversation)
        processing.check()
        return PrunableModel(
            model.model, processing, model.adapter, model.query_encoder, settings.model.rules
        )

    def features(self) -> FeatureCache:
        """Return the cache of encoded images; cells with the same model and benchmark share it."""
        key = (*self._model_key, json.dumps(self.settings.benchmark, sort_keys=True))
        if key not in _features:
            _features.clear()
            _features[key] = FeatureCache(self.settings.feature_cache_gib * 2**30)
        return _features[key]

    def samples(self) -> Sequence[Sample]:
        """Return the first ``limit`` samples of the benchmark, with the text that the query encoder sees."""
        samples = self.benchmark.samples()[: self.settings.limit]
        return [self.asking(sample) for sample in samples] if self._asks_as_released else samples

    def asking(self, sample: Sample) -> Sample:
        """Return a sample of the benchmark with the text that this cell's query encoder sees."""
        released = self.benchmark.released_query(sample) if self._asks_as_released else None
        return replace(sample, query_text=released)

    def batches(self) -> list[list[Sample]]:
        """Return the batches of this shard, which are consecutive."""
        size = BatchSize(self.settings.batch_size, self.benchmark.modality).value
        batches = in_batches(self.samples(), size)
        shards, shard = self.settings.shards, self.settings.shard or 0
        return batches[shard * len(batches) // shards : (shard + 1) * len(batches) // shards]

    @property
    def _shortens_prompt(self) -> bool:
        pruner = self.pruner.first if isinstance(self.pruner, LayerPruner) else self.pruner
        return pruner is not None and not isinstance(pruner, NoPruning)

    @property
    def _asks_as_released(self) -> bool:
        return self.pruner.reads.question and self.settings.query_text == "released"

    @property
    def _model_key(self) -> tuple[Any, ...]:
        adapter, settings = self.checkpoint.adapter, self.settings  # the adapter depends on the modality
        how = settings.attention, *map(vars(settings.model).get, ("compile", "placement", "quantization"))
        return settings.model.wanted, adapter, self.device, self.dtype, *how


_loaded: dict[tuple[Any, ...], PrunableModel] = {}
_features: dict[tuple[Any, ...], FeatureCache] = {}


def _as_model_takes(settings: RunSettings, checkpoint: Checkpoint) -> RunSettings:
    """Return the settings with the model's frame count and wording for videos where the user gives none."""
    null = {key for key in ("frames", "prompt_for") if settings.benchmark.get(key, "") is None}
    used: dict[str, Any] = {}
    adapter = checkpoint.taking("video")
    if "frames" in null and (frames := adapter.frames) is not None:  # otherwise the model takes images
        used["frames"] = frame_setting(frames)
    if "prompt_for" in null:
        used["prompt_for"] = adapter.adapter.lmms_name
    return replace(settings, benchmark=settings.benchmark | used)

"""A cell: one model, benchmark, pruner, budget and seed, checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.build import build_benchmark, build_pruner, build_tracker
from script_exp.errors import SettingError, UserError
from script_exp.models.checkpoint import Checkpoint, find_checkpoint
from script_exp.models.load import check_attention, load_model, resolve_device, resolve_dtype
from script_exp.models.prunable import PrunableModel
from script_exp.models.rules import PruningRules
from script_exp.pruners import LayerPruner, NoPruning, Pruner
from script_exp.pruners.base import non_default_fields
from script_exp.results.provenance import provenance
from script_exp.results.record import Cell
from script_exp.results.run_directory import identity_hash
from script_exp.results.tracker import Tracker
from script_exp.settings import RunSettings

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
        model = settings.model
        checkpoint = find_checkpoint(model.path, model.clip, model.weights, model.name, model.adapter)
        if pruner.needs_query and not checkpoint.can_encode_queries:
            raise UserError(
                f"model.clip={model.clip}: pruner={settings.pruner['name']} needs the text tower of the CLIP "
                "that the vision tower came from; expected a folder or hub id with it"
            )
        tokens = checkpoint.tokens_per_crop
        try:
            if tokens is not None and isinstance(pruner, LayerPruner):
                pruner.lengths(tokens, checkpoint.llm_layers)
            elif tokens is not None and isinstance(pruner, Pruner):
                pruner.kept_of(tokens)
        except SettingError as error:
            raise error.within("pruner") from error
        try:
            checkpoint.adapter.check_rules(model.rules)
        except SettingError as error:
            raise error.within("model") from error
        tracker = build_tracker(settings)
        device = resolve_device(settings.device)
        dtype = resolve_dtype(settings.dtype, device, checkpoint.config.dtype)
        check_attention(settings.attention, device, dtype)
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
        model = self.settings.model
        used = {
            "prompt_version": self.benchmark.prompt_version,
            **({} if (samples := self.benchmark.fingerprint()) is None else {"samples": samples}),
            "checkpoint": self.checkpoint.fingerprint(with_clip=self.pruner.needs_query),
            "relevance_sign": model.relevance_sign if self.pruner.needs_query else None,
            "conversation": model.conversation,
            **({} if self._keeps_prompt else {"positions": model.positions, "newline": model.newline}),
            "device": self.device.type,
            "dtype": str(self.dtype),
        }
        return identity_hash(self.settings.result_relevant() | used)

    @property
    def _keeps_prompt(self) -> bool:
        """Whether the whole prompt enters the LLM, so that the rules for what remains play no part."""
        return isinstance(self.pruner, LayerPruner | NoPruning)

    @property
    def directory(self) -> Path:
        """``outputs/model/benchmark/pruner-budget-seed-hash``."""
        settings = self.settings
        group = f"{settings.model.name}/{settings.benchmark['name']}"
        return settings.outputs / group / f"{self.name}-{self.identity}"

    @property
    def cell(self) -> Cell:
        settings = self.settings
        changed = non_default_fields(self.pruner)
        if changed.get("seed") == settings.seed:
            del changed["seed"]
        return Cell(
            model=settings.model.name,
            benchmark=settings.benchmark["name"],
            pruner=settings.pruner["name"],
            budget=settings.budget,
            seed=settings.seed,
            variant=", ".join(f"{key}={value}" for key, value in changed.items()),
        )

    def resolved_config(self) -> dict[str, Any]:
        """Every setting with the value that is used."""
        used = {"outputs": str(self.settings.outputs), "device": str(self.device), "dtype": str(self.dtype)}
        return {**vars(self.settings), "model": vars(self.settings.model), **used}

    def provenance(self) -> dict[str, Any]:
        """Code, versions and machine of this process."""
        model = self.settings.model
        return provenance(model.path, model.weights, self.device, self.dtype, self.settings.attention)

    def load(self) -> PrunableModel:
        """The model; cells of one process that share it load it once."""
        model = self.settings.model
        return _load(
            model.name,
            model.path,
            model.clip,
            model.weights,
            model.adapter,
            model.conversation,
            model.rules,
            self.device,
            self.dtype,
            self.settings.attention,
        )

    def samples(self) -> Sequence[Sample]:
        """The benchmark's samples, the first ``limit`` of them."""
        return self.benchmark.samples()[: self.settings.limit]


@lru_cache(maxsize=1)
def _load(
    name: str,
    path: str,
    clip: str | None,
    weights: str,
    adapter: str | None,
    conversation: str,
    rules: PruningRules,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
) -> PrunableModel:
    return load_model(
        find_checkpoint(path, clip, weights, name, adapter),
        device=device,
        dtype=dtype,
        attention=attention,
        rules=rules,
        conversation=conversation,
    )

"""The types that ``result.json`` and ``samples.jsonl`` hold as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 5


@dataclass(frozen=True, kw_only=True)
class SampleTokens:
    """Sizes of one sample's prompt, which determine its costs.

    Attributes:
        visual: visual tokens before pruning.
        kept: visual tokens that entered the LLM, or that remained after the last pruning layer inside it.
        layer_average: visual tokens, mean over the LLM's layers.
        separators: newline and similar tokens between visual tokens; only those that entered the LLM.
        crops: crops that went through the vision tower.
        budget_crops: crops that the budget was multiplied by; fewer if the model scales them down.
        offered: visual tokens to choose from: ``visual``, and those that the model later cuts off as padding.
        grids: (time, rows, columns) of each image, for towers that take images of any size.
        text: other tokens of the prompt.
        query: tokens that went through the query encoder; 0 if it did not run.
        pruner_operations: floating-point operations of the pruner.
        by_layer: visual tokens that each of the LLM's layers saw; None for a method before the LLM, and in
            records from before this was written.
    """

    visual: int
    kept: int
    layer_average: float
    separators: int
    crops: int
    budget_crops: int
    offered: int
    grids: list[list[int]]
    text: int
    query: int
    pruner_operations: int
    by_layer: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class SampleRecord(SampleTokens):
    """One line of ``samples.jsonl``.

    Attributes:
        id, kind, unit, question, references: as in the benchmark's sample.
        prompt_hash: first 16 hex digits of the sha256 of the prompt.
        prediction: raw output of the model.
        answer: the parsed output.
        score: score in [0, 1]; 0 if a server scores.
        seconds: the batch's time divided by its size.
        batch: questions that went through the model together.
        kept_indices: for each crop, the raster indices of the tokens that the pruner kept; only written with
            ``record_kept``.
        rule: the benchmark's ``rule_version`` behind answer and score.
        kept_by_crop: for each crop, how many tokens the pruner kept, aggregated ones included; those that the
            model cuts off as padding afterwards count, so that the sum may exceed ``kept``. None in records
            from before it was counted.
    """

    id: str
    kind: str
    unit: str
    question: str
    references: list[str]
    prompt_hash: str
    prediction: str
    answer: str
    score: float
    seconds: float
    batch: int
    kept_indices: list[list[int]] | None
    rule: int = 1
    kept_by_crop: list[int] | None = None


@dataclass(frozen=True)
class Cell:
    """What a run evaluates, and what two comparable runs have in common.

    Attributes:
        variant: the pruner's settings that differ from the published defaults.
        pruner_settings: all of the pruner's settings except the budget; nested ones have names such as
            ``graph.threshold``.
        benchmark_settings: the benchmark's settings, for example ``protocol``; not the location of its data.
        prompt_version: version of the benchmark's prompt.
        protocol_version: version of everything else in the code that can change a result.
        limit: number of requested samples; None for all.
        query_text: ``bare`` or ``released``, what the method compares with; None for a method that does not
            ask, and in results from before there was a choice.
    """

    model: str
    benchmark: str
    pruner: str
    budget: int | float | None
    seed: int
    variant: str
    pruner_settings: dict[str, Any]
    benchmark_settings: dict[str, Any]
    prompt_version: int
    protocol_version: int
    limit: int | None
    query_text: str | None = None


@dataclass(frozen=True)
class Accuracy:
    """The official number with its 95 % interval (:mod:`script_exp.measure.interval`).

    Attributes:
        metric: name of the metric, for example ``mean``.
        scale: 100 if the value is a share, printed in percent; 1 if it counts points.
        ci95: both ends of the interval; None if all samples belong to one unit.
        partial: whether ``limit`` was set, or samples were skipped.
        skipped: number of samples whose images are missing or broken, and of bad entries in the benchmark's
            files (``skipped.jsonl`` lists them).
    """

    metric: str
    scale: int
    value: float
    n: int
    ci95: tuple[float, float] | None
    by_kind: dict[str, float]
    partial: bool
    skipped: int = 0


@dataclass(frozen=True)
class Tokens:
    """Mean token counts per sample.

    Attributes:
        visual, offered, separators, crops, budget_crops, kept, layer_average: as in :class:`SampleTokens`.
        requested: the budget per crop; None: no pruning.
    """

    visual: float
    offered: float
    separators: float
    crops: float
    budget_crops: float
    requested: int | float | None
    kept: float
    layer_average: float


@dataclass(frozen=True)
class RunResult:
    """The contents of ``result.json``.

    Attributes:
        accuracy: None for random weights, and if a server scores the submission file.
        flops: ``prefill_total`` (all stages), ``llm_visual_only`` (LLM, visual tokens alone) and ``stages``:
            means over the samples, 2 per multiply-accumulate.
        identity: hash of everything that can change the result; the run directory's name ends with it.
        unpruned_identity: the identity of the unpruned run to compare with.
        kv_cache_bytes: size of the LLM's cache after prefill, mean over the samples, by formula.
        latency: ``llm_prefill_ms``, ``ttft_ms``, ``stages``, ``repeats``, ``unpruned``...; None if it was
            switched off.
        peak_memory_bytes: peak of an LLM prefill; None if it was not measured.
        provenance: checkpoint, versions, commit, device of every process that worked on the run, in order.
        rule_version: the benchmark's ``rule_version`` behind the accuracy.
        rescored: one entry for every time that ``runners/score.py`` changed something, in order.
    """

    schema_version: int
    status: str
    identity: str
    unpruned_identity: str
    cell: Cell
    accuracy: Accuracy | None
    tokens: Tokens
    flops: dict[str, Any]
    kv_cache_bytes: float
    latency: dict[str, Any] | None
    peak_memory_bytes: int | None
    provenance: list[dict[str, Any]]
    rule_version: int = 1
    rescored: list[dict[str, Any]] = field(default_factory=list)

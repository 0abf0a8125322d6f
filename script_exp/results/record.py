"""The types of what a run records; ``result.json`` and ``samples.jsonl`` are these, as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 5


@dataclass(frozen=True, kw_only=True)
class SampleTokens:
    """Sizes of one sample's prompt: all that its costs depend on.

    Attributes:
        visual: visual tokens before pruning.
        kept: visual tokens that entered the LLM, or that remained after the last layer of a layer pruner.
        layer_average: visual tokens, mean over the LLM's layers.
        separators: newline and like tokens that the model puts between visual ones, as they entered the LLM.
        crops: crops through the vision tower.
        budget_crops: crops that the budget was multiplied by; fewer where the model scales them down.
        offered: visual tokens to choose from: ``visual``, and those that the model cuts off as padding later.
        grids: (time, rows, columns) of each image, for towers that take images of any size.
        text: other tokens of the prompt.
        query: tokens through the query encoder, 0 if it did not run.
        pruner_operations: floating-point operations of the pruner.
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


@dataclass(frozen=True, kw_only=True)
class SampleRecord(SampleTokens):
    """One line of ``samples.jsonl``.

    Attributes:
        id, kind, unit, question, references: as in the benchmark's sample.
        prompt_hash: first 16 hex digits of the sha256 of the prompt.
        prediction: raw output of the model.
        answer: the parsed output.
        score: in [0, 1]; 0 where a server scores.
        seconds: the batch's time divided by its size.
        batch: questions that went through the model together.
        kept_indices: of every crop the raster indices of the tokens that the pruner kept; written where they
            were asked for (``record_kept``).
        rule: the benchmark's ``rule_version`` that gave answer and score.
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


@dataclass(frozen=True)
class Cell:
    """What a run answers for, and what has to be the same for two runs to be comparable.

    Attributes:
        variant: the pruner's settings that are not the published defaults.
        pruner_settings: all of the pruner's settings but the budget; nested ones are named like
            ``graph.threshold``.
        benchmark_settings: the benchmark's settings, for example its ``protocol``; not where its data is.
        prompt_version: of the benchmark's prompt and rule.
        protocol_version: of everything else in the code that can change a result.
        limit: how many samples were asked for; None for all.
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


@dataclass(frozen=True)
class Accuracy:
    """The official number with its 95 % interval (bootstrap over units).

    Attributes:
        metric: what the number is, for example ``mean``.
        scale: 100 if it is a share, to be printed in percent; 1 if it counts points.
        ci95: both ends of the interval; None where all samples are of one unit.
        partial: whether ``limit`` was set, or samples were skipped.
        skipped: samples left out because their images are missing or broken, and entries of the benchmark's
            files that are not right (``skipped.jsonl`` lists them).
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
    """Tokens per sample, means.

    Attributes:
        visual, offered, separators, crops, budget_crops, kept, layer_average: as of :class:`SampleTokens`.
        requested: the budget, per crop; None: no pruning.
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
    """``result.json``.

    Attributes:
        accuracy: None for random weights, which have none, and where a server scores the submission file.
        flops: ``prefill_total`` (all stages), ``llm_visual_only`` (LLM, visual tokens alone) and ``stages``:
            means over the samples, 2 per multiply-accumulate.
        identity: hash of everything that can change the result; the end of the run directory's name.
        unpruned_identity: the identity of the unpruned run to compare with.
        kv_cache_bytes: keys and values after prefill, mean over the samples, by the formula.
        latency: ``llm_prefill_ms``, ``ttft_ms``, ``stages``, ``repeats``, ``unpruned``...; None if it was
            switched off.
        peak_memory_bytes: of an LLM prefill; None where it was not measured.
        provenance: checkpoint, versions, commit, device of every process that worked on the run, in order.
        rule_version: the benchmark's, that gave the accuracy.
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

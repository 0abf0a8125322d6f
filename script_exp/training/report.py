"""Report how good the embedded model is by kind of question, and what its benchmark resolves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.ahead import in_batches
from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.answer import Answering, BatchSize
from script_exp.cell.skipped import Skipped
from script_exp.measure.interval import metric_interval
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.prunable import PrunableModel
from script_exp.models.rules import PruningRules
from script_exp.pruners import NoPruning, Pruner, QueryDPP
from script_exp.pruners.contract.signals import Reads
from script_exp.results.record import SampleRecord
from script_exp.terminal.progress import Progress
from script_exp.training.monitor import COVERED, accuracy, area_under_curve
from script_exp.training.oracle import Oracle, needed_patches

_BATCH = 8


def print_report(path: str, benchmark: Shapes, budgets: Sequence[int]) -> None:
    """Print two Markdown tables: accuracy and relevance by kind, and the oracle at every budget.

    Args:
        path: folder of the checkpoint, its id on the hub, or ``embedded``.
        benchmark: the scenes and questions.
        budgets: numbers of visual tokens that the oracle keeps.

    Raises:
        UserError: if there is no such checkpoint.
    """
    checkpoint = find_checkpoint(Wanted(path), needs_query=True)
    model = load_model(
        checkpoint,
        device=torch.device("cpu"),
        dtype=torch.float32,
        attention="sdpa",
        with_query=True,
        rules=PruningRules(relevance_sign=1),
    )
    scenes, scene_seed, world = benchmark.scenes, benchmark.scene_seed, benchmark.world
    needed = needed_patches(scene_seed, scenes, world)
    cache = FeatureCache(2**30)
    unpruned = _by_kind(_run(model, benchmark, cache, NoPruning(), "unpruned"))
    blind = accuracy(model.model, scenes, scene_seed, blind=True, world=world)
    relevance = _relevance_auc(model, benchmark.samples(), needed)
    print("| kind | questions | unpruned, % | without the image, % | relevance AUC |\n|---|---|---|---|---|")
    for kind, scores in unpruned.items():
        auc = f"{np.mean(relevance[kind]):.3f}" if relevance[kind] else ""
        print(f"| {kind} | {len(scores)} | {100 * np.mean(scores):.1f} | {100 * blind[kind]:.1f} | {auc} |")
    print("\n| budget | oracle, % | 95 % interval |\n|---|---|---|")
    for budget in budgets:
        records = _run(model, benchmark, cache, Oracle(budget=budget, needed=needed), f"oracle {budget}")
        scores = [record.score for record in records]
        metric = benchmark.metric
        interval = metric_interval(metric.by_unit(records), metric.value) or (np.nan, np.nan)
        low, high = 100 * np.array(interval)
        print(f"| {budget} | {100 * np.mean(scores):.1f} | {low:.1f} to {high:.1f} |")


def _run(
    model: PrunableModel, benchmark: Shapes, cache: FeatureCache, pruner: Pruner, name: str
) -> list[SampleRecord]:
    """Answer the whole benchmark."""
    answering = Answering(model, benchmark, pruner, cache, Skipped(allowed=False), BatchSize(_BATCH))
    samples, records = benchmark.samples(), []
    with Progress(name, len(samples), [], "accuracy") as progress:
        for batch in answering.answer(in_batches(samples, _BATCH)):
            records += batch
            progress.advance([record.score for record in batch])
    return records


def _by_kind(records: Sequence[SampleRecord]) -> dict[str, list[float]]:
    """Return the scores by kind, and all of them under ``all``."""
    scores: dict[str, list[float]] = defaultdict(list)
    for record in records:
        scores[record.kind].append(record.score)
        scores["all"].append(record.score)
    return dict(sorted(scores.items()))


def _relevance_auc(
    model: PrunableModel, samples: Sequence[Sample], needed: dict[str, np.ndarray]
) -> dict[str, list[float]]:
    """Return the AUC of the pruners' relevance for the patches of needed objects, by kind and ``all``."""
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        positive = needed[sample.id] > COVERED
        if not positive.any():
            continue
        inputs = model.preprocess([[sample.visual()]], [model.chat_prompt(sample.prompt)])
        visual = model.encode_images(inputs, Reads(joint=True))[0].visual
        query = model.encode_queries([sample.question])[0]
        auc = area_under_curve(QueryDPP().relevance(visual, query)[0].numpy(), positive)
        found[sample.kind].append(auc)
        found["all"].append(auc)
    return found

"""Time the evaluation loop against a naive one: batch size 1, every image encoded for every question.

Both run the embedded model on scenes with 16 questions each and must give the same predictions. It also
reports how much of the loop's time is spent outside the model.

python benchmarks_speed/evaluation.py [--device cpu]
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from report import Given, command_line, compared, print_cases, write_report

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.ahead import in_batches
from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.answer import Answering, BatchSize
from script_exp.cell.skipped import Skipped
from script_exp.measure.clock import interleaved
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.prunable import PrunableModel
from script_exp.models.rules import PruningRules
from script_exp.pruners import NoPruning, Pruner, Script

_SCENES, _QUESTIONS, _BATCH = 4, 16, 16
_STAGES = ("process", "encode", "encode_queries", "words", "prune", "generate")
_PRUNERS: dict[str, Pruner] = {"none": NoPruning(), "script, 64 tokens": Script(budget=64)}


def embedded(device: torch.device) -> PrunableModel:
    """Load the embedded model with its query encoder."""
    checkpoint = find_checkpoint(Wanted("embedded"), needs_query=True)
    return load_model(
        checkpoint,
        device=device,
        dtype=torch.float32,
        attention="sdpa",
        with_query=True,
        rules=PruningRules(relevance_sign=1),
    )


def sixteen_questions(benchmark: Shapes) -> list[Sample]:
    """Return sixteen questions per scene, repeating them if needed; answers do not depend on ids."""
    return [
        replace(sample, id=f"{unit}-{turn}")
        for unit, group in itertools.groupby(benchmark.samples(), key=lambda sample: sample.unit)
        for turn, sample in zip(range(_QUESTIONS), itertools.cycle(list(group)), strict=False)
    ]


def naive(
    model: PrunableModel, benchmark: Shapes, pruner: Pruner, samples: Sequence[Sample]
) -> dict[str, str]:
    """Answer one question at a time, and compute everything anew."""
    said = {}
    for sample in samples:
        inputs = model.preprocess([[sample.visual()]], [model.chat_prompt(sample.prompt)])
        images = model.encode_images(inputs, pruner.reads)
        queries = model.encode_queries([sample.question], pruner.reads) if pruner.reads.question else None
        prompt = model.prune(inputs, images, pruner, queries, keys=[sample.id])
        said[sample.id] = model.generate(prompt, benchmark.max_new_tokens).texts[0]
    return said


def ours(
    model: PrunableModel, benchmark: Shapes, pruner: Pruner, samples: Sequence[Sample]
) -> dict[str, str]:
    """Answer with the loop that every run uses, with nothing cached from a run before."""
    answering = Answering(
        model, benchmark, pruner, FeatureCache(0), Skipped(allowed=False), BatchSize(_BATCH)
    )
    batches = answering.answer(in_batches(samples, _BATCH))
    return {record.id: record.prediction for batch in batches for record in batch}


def outside_the_model(model: PrunableModel, loop: Callable[[], Any]) -> float:
    """Return the share of a loop's time spent outside the model's methods; loading ahead does not count."""
    inside = [0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                inside[0] += time.perf_counter() - begin

        return run

    stages = [stage for stage in _STAGES if stage != "process"]  # runs in other threads
    for stage in stages:
        setattr(model, stage, timed(getattr(model, stage)))
    begin = time.perf_counter()
    loop()
    whole = time.perf_counter() - begin
    for stage in stages:
        delattr(model, stage)
    return 1 - inside[0] / whole


def case(name: str, pruner: Pruner, model: PrunableModel, given: Given) -> dict[str, Any]:
    """Time both loops with one pruner."""
    benchmark = Shapes(scenes=_SCENES, scene_seed=7)
    samples = sixteen_questions(benchmark)
    given_to_both = (model, benchmark, pruner, samples)
    if naive(*given_to_both) != ours(*given_to_both):
        raise RuntimeError(f"{name}: the two loops give different predictions")
    times = interleaved(
        given.clock,
        {"ours": lambda: ours(*given_to_both), "naive": lambda: naive(*given_to_both)},
        warm_up=given.warm_up,
        repeats=given.repeats,
    )
    shape = f"{name}: {_SCENES} images with {_QUESTIONS} questions, batches of {_BATCH}"
    outside = outside_the_model(model, lambda: ours(*given_to_both))
    return {"case": shape, "share_outside_the_model": outside, **compared(times, "ours")}


def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=5)
    model = embedded(given.clock.device)
    cases = [case(name, pruner, model, given) for name, pruner in _PRUNERS.items()]
    print_cases(f"evaluation ({given.clock_name})", cases, "ours")
    for one in cases:
        print(f"{one['case']}: {one['share_outside_the_model']:.1%} of the time is spent outside the model")
    write_report("evaluation", given, {"cases": cases})


if __name__ == "__main__":
    main()

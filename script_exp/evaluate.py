"""The loop that answers a benchmark's questions with a pruned model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, Pruner
from script_exp.results.record import SampleRecord


def answer(
    model: PrunableModel,
    benchmark: Benchmark,
    pruner: Pruner | LayerPruner,
    samples: Sequence[Sample],
    batch_size: int,
) -> Iterator[list[SampleRecord]]:
    """Answer ``samples`` in order, ``batch_size`` at a time; yields each batch's records when it is done."""
    for start in range(0, len(samples), batch_size):
        yield _answer_batch(model, benchmark, pruner, samples[start : start + batch_size])


def _answer_batch(
    model: PrunableModel, benchmark: Benchmark, pruner: Pruner | LayerPruner, batch: Sequence[Sample]
) -> list[SampleRecord]:
    begin = time.perf_counter()
    prompts = [model.chat_prompt(benchmark.prompt(sample)) for sample in batch]
    inputs = model.preprocess([sample.image() for sample in batch], prompts)
    images = model.encode_images(inputs, with_joint=pruner.needs_query)
    queries = model.encode_queries([sample.question for sample in batch]) if pruner.needs_query else None
    prompt = model.prune(inputs, images, pruner, queries, keys=[sample.id for sample in batch])
    predictions = model.generate(prompt, benchmark.max_new_tokens)
    seconds = (time.perf_counter() - begin) / len(batch)
    prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
    records = []
    for row, sample in enumerate(batch):
        parsed = benchmark.parse(predictions[row])
        by_layer = model.visual_by_layer(prompt, row)
        records.append(
            SampleRecord(
                id=sample.id,
                kind=sample.kind,
                unit=sample.unit,
                question=sample.question,
                references=list(sample.references),
                prompt_hash=hashlib.sha256(prompts[row].encode()).hexdigest()[:16],
                prediction=predictions[row],
                answer=parsed,
                score=benchmark.score(sample, parsed),
                visual=prompt.visual[row],
                kept=by_layer[-1],
                layer_average=sum(by_layer) / len(by_layer),
                text=prompt_tokens[row] - prompt.visual[row],
                query=model.query_tokens(sample.question) if pruner.needs_query else 0,
                seconds=seconds,
            )
        )
    return records

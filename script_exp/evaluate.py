"""The loop that answers a benchmark's questions with a pruned model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from PIL import Image

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.errors import DataError, UserError
from script_exp.measure.flops import PrunerOperations
from script_exp.models.prunable import PrunableModel, PrunedPrompt
from script_exp.pruners import LayerPruner, Pruner
from script_exp.results.record import SampleRecord, SampleTokens


@dataclass
class Skipped:
    """Samples that were left out, with the reason.

    Attributes:
        allowed: whether a sample may be left out at all.
        reasons: by the sample's id.
    """

    allowed: bool
    reasons: dict[str, str] = field(default_factory=dict)

    def loaded(self, samples: Iterable[Sample]) -> list[Sample]:
        """The samples that load, with their images in memory.

        Raises:
            UserError: for the first that does not, unless it may be left out.
        """
        good = []
        for sample in samples:
            try:
                visual = sample.visual()
            except DataError as error:
                if not self.allowed:
                    raise UserError(
                        f"sample {sample.id}: {error}; benchmark.on_error=skip leaves it out"
                    ) from error
                self.reasons[sample.id] = str(error)
            else:
                good.append(replace(sample, visual=partial(_same, visual)))
        return good


def answer(
    model: PrunableModel,
    benchmark: Benchmark,
    pruner: Pruner | LayerPruner,
    samples: Sequence[Sample],
    batch_size: int,
    skipped: Skipped,
) -> Iterator[list[SampleRecord]]:
    """Answer ``samples`` in order, ``batch_size`` at a time; yields each batch's records when it is done.

    Samples whose images cannot be loaded go into ``skipped``.
    """
    count = PrunerOperations()
    for start in range(0, len(samples), batch_size):
        batch = skipped.loaded(samples[start : start + batch_size])
        yield _answer_batch(model, benchmark, pruner, batch, count) if batch else []


def _same(visual: Image.Image | Sequence[Image.Image]) -> Image.Image | Sequence[Image.Image]:
    return visual


def count_tokens(
    model: PrunableModel, pruner: Pruner | LayerPruner, samples: Sequence[Sample]
) -> list[SampleTokens]:
    """Sizes of the prompts of ``samples``, without answering: all there is to say about random weights."""
    counted, count = [], PrunerOperations()
    for sample in samples:
        batch = _prune_batch(model, pruner, [sample], count)
        counted.append(_sizes(model, batch, 0, sample, pruner))
    return counted


@dataclass(frozen=True)
class _Batch:
    prompts: list[str]
    text: list[int]
    pruned: PrunedPrompt
    operations: list[int]


def _prune_batch(
    model: PrunableModel, pruner: Pruner | LayerPruner, samples: Sequence[Sample], count: PrunerOperations
) -> _Batch:
    prompts = [model.chat_prompt(sample.prompt) for sample in samples]
    inputs = model.preprocess([[sample.visual()] for sample in samples], prompts)
    images = model.encode_images(inputs, with_joint=pruner.needs_query)
    queries = model.encode_queries([sample.question for sample in samples]) if pruner.needs_query else None
    pruned = model.prune(inputs, images, pruner, queries, keys=[sample.id for sample in samples])
    words = inputs["attention_mask"].bool() & (inputs["input_ids"] != model.adapter.placeholder_id)
    operations = [
        count(
            model.fitted(pruner, image),
            replace(image.visual, key=samples[row].id),
            queries[row] if queries else None,
        )
        for row, image in enumerate(images)
    ]
    return _Batch(prompts, words.sum(dim=1).tolist(), pruned, operations)


def _sizes(
    model: PrunableModel, batch: _Batch, row: int, sample: Sample, pruner: Pruner | LayerPruner
) -> SampleTokens:
    pruned = batch.pruned
    by_layer = model.visual_by_layer(
        pruner, pruned.before[row], pruned.entering[row], pruned.budget_crops[row]
    )
    return SampleTokens(
        visual=pruned.before[row],
        kept=by_layer[-1],
        layer_average=sum(by_layer) / len(by_layer),
        separators=pruned.separators[row],
        crops=pruned.crops[row],
        budget_crops=pruned.budget_crops[row],
        grids=[list(grid) for grid in pruned.grids[row]],
        text=batch.text[row],
        query=model.query_tokens(sample.question) if pruner.needs_query else 0,
        pruner_operations=batch.operations[row],
    )


def _answer_batch(
    model: PrunableModel,
    benchmark: Benchmark,
    pruner: Pruner | LayerPruner,
    samples: Sequence[Sample],
    count: PrunerOperations,
) -> list[SampleRecord]:
    begin = time.perf_counter()
    batch = _prune_batch(model, pruner, samples, count)
    predictions = model.generate(batch.pruned, benchmark.max_new_tokens)
    seconds = (time.perf_counter() - begin) / len(samples)
    records = []
    for row, sample in enumerate(samples):
        parsed = benchmark.parse(sample, predictions[row])
        records.append(
            SampleRecord(
                **vars(_sizes(model, batch, row, sample, pruner)),
                id=sample.id,
                kind=sample.kind,
                unit=sample.unit,
                question=sample.question,
                references=list(sample.references),
                prompt_hash=hashlib.sha256(batch.prompts[row].encode()).hexdigest()[:16],
                prediction=predictions[row],
                answer=parsed,
                score=benchmark.score(sample, parsed),
                seconds=seconds,
            )
        )
    return records

"""The loop that answers a benchmark's questions with a pruned model."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import torch
from torch import Tensor

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.reading.ahead import BATCHES_AHEAD, loaded_ahead
from script_exp.cell.skipped import Skipped
from script_exp.errors import DataError, SettingError
from script_exp.measure.layer_flops import inside_operations
from script_exp.measure.pruner_flops import PrunerOperations
from script_exp.models.budgets import fitted
from script_exp.models.families.adapter import SEPARATOR
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.positions import positions_needed, positions_of
from script_exp.models.prunable import PrunableModel
from script_exp.models.stage_outputs import Features, PrunedPrompt
from script_exp.pruners import LayerPruner, Pruner
from script_exp.pruners.contract.kept import Kept
from script_exp.results.record import SampleRecord, SampleTokens

log = logging.getLogger(__name__)

FIRST_BATCH_SIZE = {"image": 32, "video": 4}
"""Initial batch size of ``batch_size=auto``, by modality."""


class BatchSize:
    """The number of questions that go through the model together.

    Args:
        setting: ``batch_size``: a number; or ``auto``, which is halved whenever the GPU runs out of memory.
        modality: what the questions are about: ``image`` or ``video``.
    """

    def __init__(self, setting: int | str, modality: str = "image") -> None:
        self._is_auto = isinstance(setting, str)
        self.value = FIRST_BATCH_SIZE[modality] if isinstance(setting, str) else setting

    def shrink(self, error: torch.OutOfMemoryError) -> None:
        """Halve it after ``error``.

        Raises:
            UserError: if it was given as a number, or is already 1.
        """
        if not self._is_auto or self.value == 1:
            smaller = "auto or a smaller one" if self.value > 1 else "a GPU with more memory"
            raise SettingError("batch_size", self.value, f"{smaller}: the GPU is out of memory") from error
        self.value //= 2
        log.warning("out of GPU memory: continuing with batch_size=%d", self.value)
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Answering:
    """What all batches of a cell share to answer their questions.

    Attributes:
        model, benchmark, pruner: those of the cell.
        cache: encoded images of this model and benchmark.
        skipped: collects the samples whose images do not load.
        batch_size: size of the given batches; may shrink.
    """

    model: PrunableModel
    benchmark: Benchmark
    pruner: Pruner | LayerPruner
    cache: FeatureCache
    skipped: Skipped
    batch_size: BatchSize

    def answer(self, batches: Sequence[Sequence[Sample]]) -> Iterator[list[SampleRecord]]:
        """Answer batch by batch; yield the records of a batch, or of its parts once the batch size shrank."""
        count = PrunerOperations()
        features: dict[str, Features] = {}
        for batch, loading in loaded_ahead(batches, self._process, BATCHES_AHEAD[self.benchmark.modality]):
            processed, samples = self._loaded(batch, loading)
            features = {unit: one for unit, one in features.items() if unit in processed}
            done = 0
            while done < len(samples):
                part = samples[done : done + self.batch_size.value]
                try:
                    records = self._answer(part, processed, features, count)
                except torch.OutOfMemoryError as error:
                    features.clear()
                    self.batch_size.shrink(error)
                else:
                    done += len(part)
                    if records:
                        yield records

    def _loaded(
        self, batch: Sequence[Sample], loading: dict[str, Future[dict[str, Tensor] | None]]
    ) -> tuple[dict[str, dict[str, Tensor] | None], list[Sample]]:
        """Return what was loaded, by unit, and the samples for which it did load."""
        processed: dict[str, dict[str, Tensor] | None] = {}
        for sample in batch:
            try:
                processed[sample.unit] = loading[sample.unit].result()
            except DataError as error:
                self.skipped.leave_out(sample, error)
        return processed, [sample for sample in batch if sample.unit in processed]

    def _process(self, sample: Sample) -> dict[str, Tensor] | None:
        """Return the pixels of an image; None if it is already encoded."""
        if self._key(sample.unit) in self.cache:
            return None
        return self.model.process(*sample.visuals())

    def _key(self, unit: str) -> Hashable:
        return unit, self.pruner.reads

    def _encoded(self, unit: str, processed: dict[str, Tensor] | None) -> Features:
        cached = self.cache.get(self._key(unit), self.model.device)
        if cached is not None:
            return cached
        features = self.model.encode(processed or {}, self.pruner.reads)
        self.cache.put(self._key(unit), features)
        return features

    def _answer(
        self,
        samples: Sequence[Sample],
        processed: dict[str, dict[str, Tensor] | None],
        features: dict[str, Features],
        count: PrunerOperations,
    ) -> list[SampleRecord]:
        """Answer samples that go through the model together; encode what ``features`` does not have yet.

        Samples whose prompts need more positions than the LLM has are left out, and the others answered.
        """
        begin = time.perf_counter()
        for sample in samples:
            if sample.unit not in features:
                features[sample.unit] = self._encoded(sample.unit, processed[sample.unit])
        rows = [features[sample.unit] for sample in samples]
        batch = _prune_batch(self.model, self.pruner, samples, rows, count)
        fitting = self._fitting(samples, batch)
        if len(fitting) < len(samples):
            return self._answer(fitting, processed, features, count) if fitting else []
        generated = self.model.generate(batch.pruned, self.benchmark.max_new_tokens)
        seconds = (time.perf_counter() - begin) / len(samples)
        records = []
        for row, sample in enumerate(samples):
            parsed = self.benchmark.parse(sample, generated.texts[row])
            kept = _kept(batch, row, rows[row], generated.remaining)
            records.append(
                SampleRecord(
                    **vars(_sizes(self.model, batch, row, sample, self.pruner)),
                    id=sample.id,
                    kind=sample.kind,
                    unit=sample.unit,
                    question=sample.question,
                    references=list(sample.references),
                    prompt_hash=prompt_hash(batch.prompts[row]),
                    prediction=generated.texts[row],
                    answer=parsed,
                    score=self.benchmark.score(sample, parsed),
                    seconds=seconds,
                    batch=len(samples),
                    kept_indices=kept,
                    kept_by_crop=_counts(batch, row, kept),
                    rule=self.benchmark.rule_version,
                )
            )
        return records

    def _fitting(self, samples: Sequence[Sample], batch: _Batch) -> list[Sample]:
        """Return the samples whose prompts the LLM has positions for; the others are left out."""
        there, needed = positions_of(self.model.model.config), positions_needed(batch.pruned.arguments)
        for sample, positions in zip(samples, needed, strict=True):
            if positions > there:
                why = f"its prompt takes {positions:,} positions, and the LLM has {there:,}"
                self.skipped.leave_out(sample, DataError(why))
        return [sample for sample, positions in zip(samples, needed, strict=True) if positions <= there]


def prompt_hash(prompt: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a whole prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def count_tokens(
    model: PrunableModel, pruner: Pruner | LayerPruner, samples: Sequence[Sample]
) -> list[SampleTokens]:
    """Return the prompt sizes of ``samples`` without answering them, as for random weights."""
    counted, count = [], PrunerOperations()
    for sample in samples:
        features = model.encode(model.process(*sample.visuals()), pruner.reads)
        batch = _prune_batch(model, pruner, [sample], [features], count)
        counted.append(_sizes(model, batch, 0, sample, pruner))
    return counted


@dataclass(frozen=True)
class _Batch:
    prompts: list[str]
    text: list[int]
    pruned: PrunedPrompt
    kept: list[list[Kept]]  # of each image of each row, if a method prunes before the LLM
    operations: list[int]


def _prune_batch(
    model: PrunableModel,
    pruner: Pruner | LayerPruner,
    samples: Sequence[Sample],
    features: Sequence[Features],
    count: PrunerOperations,
) -> _Batch:
    prompts = [model.chat_prompt(sample.prompt, sample.images) for sample in samples]
    inputs, images = model.words(features, prompts), [image for row in features for image in row.images]
    questions = [sample.query for sample in samples]
    queries = model.encode_queries(questions, pruner.reads) if pruner.reads.question else None
    pruned = model.prune(inputs, images, pruner, queries, keys=[sample.id for sample in samples])
    ids = inputs["input_ids"]
    words = inputs["attention_mask"].bool() & (ids != model.adapter.placeholder_id)
    words &= ~model.processing.ends_row(ids)
    first = pruner.first if isinstance(pruner, LayerPruner) else pruner
    before = [
        sum(
            count(
                fitted(first or pruner, image, model.adapter),
                replace(image.visual, key=samples[row].id),
                queries[row] if queries else None,
            )
            for image in own.images
        )
        for row, own in enumerate(features)
    ]
    operations = [sum(both) for both in zip(before, inside_operations(model, pruned), strict=True)]
    left = iter(pruned.kept)
    kept = [list(islice(left, len(own.images))) for own in features]
    return _Batch(prompts, words.sum(dim=1).tolist(), pruned, kept, operations)


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
        offered=pruned.offered[row],
        grids=[list(grid) for grid in pruned.grids[row]],
        text=batch.text[row],
        query=model.query_tokens(sample.query) if pruner.needs_query else 0,
        pruner_operations=batch.operations[row],
        by_layer=by_layer if isinstance(pruner, LayerPruner) else None,
    )


def _counts(batch: _Batch, row: int, kept: list[list[int]]) -> list[int]:
    """Return how many tokens each crop keeps, given the indices, which leave out aggregated ones."""
    if batch.pruned.layer_pruner is None:
        return [count for image in batch.kept[row] for count in image.counts]
    return [len(crop) for crop in kept]


def _kept(batch: _Batch, row: int, features: Features, remaining: Tensor) -> list[list[int]]:
    """Return, for each crop, the indices of the tokens that the pruner kept after its last stage."""
    if batch.pruned.layer_pruner is None:
        indices = [crop for image in batch.kept[row] for crop in image.by_crop]
        if any(first == second for crop in indices for first, second in pairwise(crop)):
            raise ValueError("the pruner selected a token twice: select() has to return distinct indices")
        return indices
    entering = [image.source != SEPARATOR for image in features.images]
    if batch.pruned.kept:  # a method before the LLM, too
        both = zip(entering, features.images, batch.kept[row], strict=True)
        entering = [own & image.keep(kept, separators=True)[0] for own, image, kept in both]
    stays = remaining[row][batch.pruned.tokens[row]].cpu()
    indices = []
    for image, own in zip(features.images, entering, strict=True):
        crops, n, _ = image.visual.projected.shape
        sources = image.source[own].cpu()
        left, stays = sources[stays[: len(sources)]], stays[len(sources) :]
        indices += [left[left // n == crop].remainder(n).tolist() for crop in range(crops)]
    return indices

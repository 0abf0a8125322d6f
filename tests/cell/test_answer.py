"""The evaluation loop: batches, images loaded ahead and encoded once, memory, kept tokens."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch
from small_llava import load

from script_exp.benchmarks.reading.ahead import in_batches, loaded_ahead
from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.agreement import prompt_problem
from script_exp.cell.answer import FIRST_BATCH_SIZE, Answering, BatchSize
from script_exp.cell.skipped import Skipped
from script_exp.errors import DataError, SettingError, UserError
from script_exp.measure.flops import decoder
from script_exp.measure.pruner_flops import PrunerOperations
from script_exp.models.feature_cache import FeatureCache
from script_exp.pruners import (
    Downsample,
    FastV,
    Graph,
    NoPruning,
    PruMergePlus,
    Pyramid,
    Random,
    Script,
    Trim,
)
from script_exp.pruners.contract.signals import NOTHING, Reads
from script_exp.results.summarize import summarize_costs
from script_exp.tiny import WEIGHTS

SHAPES = Shapes(scenes=3, scene_seed=7)
PRUNERS = {
    "none": NoPruning(), "random": Random(budget=64), "graph": Graph(budget=64), "trim": Trim(budget=16),
    "script": Script(budget=64), "fastv": FastV(budget=64, layer=1, budget_as="after"),
    "pyramid": Pyramid(budget=64, budget_as="after"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    return load(WEIGHTS)


@pytest.fixture(scope="module")
def samples():
    return SHAPES.samples()


def answering(tiny, pruner, cache=None, skipped=None, batch_size=8):
    cache, skipped = cache or FeatureCache(2**30), skipped or Skipped(allowed=False)
    return Answering(tiny, SHAPES, pruner, cache, skipped, BatchSize(batch_size))


def answered(tiny, pruner, samples, batch_size=8, **more):
    loop = answering(tiny, pruner, batch_size=batch_size, **more)
    return [record for batch in loop.answer(in_batches(samples, loop.batch_size.value)) for record in batch]


def said(records):
    return {record.id: (record.prediction, record.kept, record.score) for record in records}


@pytest.fixture
def encoded_units(tiny, monkeypatch):
    """How often each image goes through the tower."""
    count = Counter()
    encode = tiny.encode

    def counted(processed, reads=NOTHING):
        count[processed["pixel_values"].numpy().tobytes()] += 1
        return encode(processed, reads)

    monkeypatch.setattr(tiny, "encode", counted)
    return count


@pytest.mark.parametrize("name", PRUNERS)
def test_answers_do_not_depend_on_the_batch_size(tiny, samples, name):
    alone, together = (answered(tiny, PRUNERS[name], samples, size) for size in (1, 8))
    assert said(alone) == said(together)
    assert {record.batch for record in alone} == {1}
    assert {record.batch for record in together} == {8, len(samples) % 8}


def test_every_image_is_encoded_once(tiny, samples, encoded_units):
    cache = FeatureCache(0)  # without a cache it is the last batch that is remembered
    answered(tiny, PRUNERS["script"], samples, 4, cache=cache)
    assert sorted(encoded_units.values()) == [1, 1, 1]


def test_reused_features_give_the_same_answers(tiny, samples, encoded_units):
    """The cells of a sweep share encoded images, each as its method reads it."""
    cache = FeatureCache(2**30)
    for pruner in (PRUNERS["random"], PRUNERS["script"], Downsample(budget=64)):
        fresh = answered(tiny, pruner, samples, cache=FeatureCache(0))
        answered(tiny, pruner, samples, cache=cache)
        encoded_units.clear()
        assert said(answered(tiny, pruner, samples, cache=cache)) == said(fresh)
        assert not encoded_units


def test_a_full_cache_takes_nothing_more(tiny, samples, encoded_units):
    size = tiny.encode(tiny.process(samples[0].visual())).image.nbytes
    cache = FeatureCache(2.5 * size)
    answered(tiny, PRUNERS["graph"], samples, cache=cache)
    assert cache.held == 2 * size
    encoded_units.clear()
    answered(tiny, PRUNERS["graph"], samples, cache=cache)
    assert sorted(encoded_units.values()) == [1]


def test_batches_keep_the_questions_on_an_image_together(samples):
    mixed = [sample for turn in range(7) for sample in samples[turn::7]]
    batches = in_batches(mixed, 4)
    assert sorted(sample.id for batch in batches for sample in batch) == sorted(s.id for s in samples)
    units = [sample.unit for batch in batches for sample in batch]
    assert len([1 for before, after in itertools.pairwise(units) if before != after]) == 2
    assert {len(batch) for batch in batches[:-1]} == {4}


def test_images_are_loaded_ahead_in_other_threads_once_per_unit(samples):
    threads, loaded = set(), []
    later = threading.Event()

    def slow(sample):
        threads.add(threading.current_thread().name)
        loaded.append(sample.unit)
        if len(loaded) == 3:
            later.set()
        return sample.unit

    batches = in_batches(samples, 8)
    steps = loaded_ahead(batches, slow, ahead=2)
    batch, futures = next(steps)
    assert later.wait(timeout=10)  # the third image, while the first batch is at work
    assert batch == batches[0]
    assert all(futures[sample.unit].result() == sample.unit for sample in batch)
    steps.close()
    assert threading.current_thread().name not in threads


def test_a_broken_image_loses_its_questions_only(tiny, samples):
    def broken():
        raise DataError("no such file")

    unit = samples[0].unit
    some = [replace(sample, visual=broken) if sample.unit == unit else sample for sample in samples]
    skipped = Skipped(allowed=True)
    records = answered(tiny, PRUNERS["random"], some, skipped=skipped)
    assert set(skipped.reasons) == {sample.id for sample in samples if sample.unit == unit}
    assert {record.id for record in records} == {sample.id for sample in samples if sample.unit != unit}
    with pytest.raises(UserError, match=f"sample {samples[0].id}: no such file; benchmark.on_error=skip"):
        answered(tiny, PRUNERS["random"], some)


@pytest.fixture
def little_memory(tiny, monkeypatch):
    """A GPU that has room for three questions."""
    generate = tiny.generate

    def limited(prompt, max_new_tokens):
        if len(prompt.arguments["input_ids"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(prompt, max_new_tokens)

    monkeypatch.setattr(tiny, "generate", limited)


def test_an_automatic_batch_size_is_halved_until_it_fits(tiny, samples, little_memory):
    records = answered(tiny, PRUNERS["random"], samples, "auto")
    assert len(records) == len(samples)
    assert {record.batch for record in records} <= {1, 2}
    assert FIRST_BATCH_SIZE["image"] > 3
    assert said(records) == said(answered(tiny, PRUNERS["random"], samples, 1))


def test_images_that_do_not_fit_make_the_batch_smaller(tiny, samples, monkeypatch):
    encode, failed = tiny.encode, []

    def first_time_too_much(processed, reads=NOTHING):
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(processed, reads)

    monkeypatch.setattr(tiny, "encode", first_time_too_much)
    records = answered(tiny, PRUNERS["random"], samples, "auto")
    assert len(records) == len(samples)
    assert max(record.batch for record in records) == FIRST_BATCH_SIZE["image"] // 2


def test_a_given_batch_size_is_not_changed(tiny, samples, little_memory):
    with pytest.raises(SettingError, match="batch_size=8: expected auto or a smaller one: the GPU is out of"):
        answered(tiny, PRUNERS["random"], samples, 8)


@pytest.mark.parametrize("name", PRUNERS)
def test_kept_indices_are_those_of_the_pruner(tiny, samples, name):
    pruner = PRUNERS[name]
    for record, sample in zip(answered(tiny, pruner, samples[:8], 3), samples[:8], strict=True):
        (kept,) = record.kept_indices
        assert kept == sorted(set(kept))
        assert len(kept) == record.kept - (name == "trim")  # one token of TRIM's stands for all the others
        assert kept == wanted_indices(tiny, pruner, sample)
        assert record.kept_by_crop == [record.kept]
        for counts in (record.kept_by_crop, None):  # older records have none
            assert prompt_problem(tiny, pruner, sample, replace(record, kept_by_crop=counts)) is None
        wrong = replace(record, kept_by_crop=[record.kept + 1])
        assert "of its crops" in prompt_problem(tiny, pruner, sample, wrong)


def test_an_adaptive_count_is_recorded_as_it_is(tiny, samples):
    pruner = PruMergePlus(budget=300, count="adaptive")
    records = answered(tiny, pruner, samples[:8], 3)
    assert len({record.kept for record in records}) > 1
    for record, sample in zip(records, samples[:8], strict=True):
        assert record.kept_by_crop == [record.kept] == [len(record.kept_indices[0]) + 1]
        assert record.layer_average == record.kept <= 300
        assert prompt_problem(tiny, pruner, sample, record) is None
        image = tiny.encode(tiny.process(sample.visual()), pruner.reads).image
        assert record.pruner_operations == PrunerOperations()(pruner, image.visual, None)
        more = replace(record, kept=301, kept_by_crop=[301], layer_average=301)
        assert "has kept=301, but 300" in prompt_problem(tiny, pruner, sample, more)
    assert len({record.pruner_operations for record in records}) == len({record.kept for record in records})
    layers = len(tiny.adapter.llm.layers)
    visual = [summarize_costs(tiny, pruner, [record])[0]["llm_visual_only"] for record in records]
    assert visual == [decoder(tiny.model.config.text_config, [one.kept] * layers) for one in records]


def wanted_indices(tiny, pruner, sample):
    inputs = tiny.preprocess([[sample.visual()]], [tiny.chat_prompt(sample.prompt)])
    if isinstance(pruner, FastV):
        return fastv_indices(tiny, pruner, inputs)
    (image,) = tiny.encode_images(inputs, Reads(joint=True))
    if isinstance(pruner, Pyramid):
        prompt = tiny.prune(inputs, [image], pruner)
        with tiny.pruning_inside(prompt) as inside:
            tiny.prefill(prompt)
        first = inputs["input_ids"][0].tolist().index(tiny.adapter.placeholder_id)
        return (inside.remaining[0].nonzero()[:, 0] - first).tolist()
    visual = replace(image.visual, key=sample.id)
    return pruner(visual, tiny.encode_queries([sample.question])[0]).indices[0].tolist()


def fastv_indices(tiny, pruner, inputs):
    """From the full attention of the layer before, taken by the model's own eager kernel."""
    model, llm = tiny.model, tiny.model.model.language_model
    llm.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            rows = model(**inputs, output_attentions=True).attentions[pruner.layer - 1][0, :, -1]
    finally:
        llm.set_attn_implementation("sdpa")
    scores = rows.mean(dim=0)[inputs["input_ids"][0] == tiny.adapter.placeholder_id]
    return scores.topk(pruner.budget).indices.sort().values.tolist()

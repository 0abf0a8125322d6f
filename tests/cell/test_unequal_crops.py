"""Answers about images of several crops that keep different numbers of tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from families import build, picture

from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.agreement import prompt_problem
from script_exp.cell.answer import Answering, BatchSize
from script_exp.cell.skipped import Skipped
from script_exp.models.feature_cache import FeatureCache
from script_exp.pruners import DivPrune, HiRED, HoloV
from script_exp.results.overlay import kept_overlay
from script_exp.results.summarize import summarize_tokens


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build("llava_next", tmp_path_factory.mktemp("llava_next"))


@pytest.mark.parametrize("make", [DivPrune, HiRED, HoloV])
def test_records_of_unequal_crops(model, make):
    """Each crop's count is recorded, the total is the budget's, and a batch is like its rows."""
    benchmark = Shapes(scenes=1, scene_seed=7)
    shapes = [(300, 320), (200, 500), (640, 480)]
    samples = [
        replace(sample, unit=str(number), visual=partial(picture, *shape))
        for number, (sample, shape) in enumerate(zip(benchmark.samples(), shapes, strict=False))
    ]
    pruner = make(budget=6)

    def answered(batch):
        cache, skipped = FeatureCache(2**30), Skipped(allowed=False)
        return next(iter(Answering(model, benchmark, pruner, cache, skipped, BatchSize(3)).answer([batch])))

    records = answered(samples)
    for record, sample in zip(records, samples, strict=True):
        assert [len(crop) for crop in record.kept_indices] == record.kept_by_crop
        assert sum(record.kept_by_crop) == 6 * record.crops >= record.kept
        assert prompt_problem(model, pruner, sample, record) is None
        (alone,) = answered([sample])
        assert alone == replace(record, seconds=alone.seconds, batch=1)
        processed = model.process(sample.visual())
        pictures = model.adapter.pictures(model.processing.image_processor, processed)
        assert kept_overlay(pictures, record.kept_indices, model.adapter.token_grid(processed)) is not None
    assert len({record.crops for record in records}) == 2
    assert any(len(set(record.kept_by_crop)) > 1 for record in records)
    assert summarize_tokens(records, 6).kept == sum(record.kept for record in records) / 3

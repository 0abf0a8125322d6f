"""Samples that a model does not take are named, can be left out, and take no other with them."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from official import SHORT, finished, run_benchmark, write_jsonl, write_picture
from PIL import Image
from small_llava import load

from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.answer import Answering, BatchSize
from script_exp.cell.skipped import Skipped
from script_exp.errors import UserError
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.positions import positions_needed, positions_of
from script_exp.pruners import FastV, NoPruning, Random
from script_exp.tiny import WEIGHTS

QUESTIONS = {  # by what is wrong; image, question, what the reason says
    "placeholder": ("a.png", "What is <image>?", "the question has <image>"),
    "end": ("a.png", "What is </s> here?", "the question has </s>, which the model reads as a sign"),
    "endless": ("a.png", "word " * 3_000, "and the LLM 1,024 positions"),
    "pipe": ("pipe.png", "Is there a dog?", "pipe.png is not a file"),
    "good": ("a.png", "Is there a dog?", None),
}


def write(folder):
    lines = [
        {"question_id": turn, "image": image, "text": text + SHORT, "category": "popular"}
        for turn, (image, text, _) in enumerate(QUESTIONS.values())
    ]
    write_jsonl(folder / "llava_pope_test.jsonl", lines)
    write_jsonl(folder / "coco" / "coco_pope_popular.json", [line | {"label": "yes"} for line in lines])
    write_picture(folder / "val2014" / "a.png")
    os.mkfifo(folder / "val2014" / "pipe.png")


def test_a_run_leaves_out_what_cannot_be_asked(tmp_path):
    write(tmp_path / "data" / "pope")
    process = run_benchmark("pope", tmp_path, f"data={tmp_path / 'data'}")
    assert process.returncode == 2
    assert "error: sample popular-0: the question has <image>" in process.stderr
    assert "benchmark.on_error=skip leaves it out" in process.stderr
    run_dir, result, records = finished(
        run_benchmark("pope", tmp_path, f"data={tmp_path / 'data'}", "benchmark.on_error=skip")
    )
    assert [record["id"] for record in records] == ["popular-4"]
    assert result["accuracy"]["skipped"] == 4
    skipped = [json.loads(line) for line in (run_dir / "skipped.jsonl").read_text().splitlines()]
    reasons = {one["id"]: one["why"] for one in skipped}
    for turn, (_, _, why) in enumerate(QUESTIONS.values()):
        assert why is None or why in reasons[f"popular-{turn}"]


@pytest.fixture(scope="module")
def tiny():
    return load(WEIGHTS)


SHAPES = Shapes(scenes=1, scene_seed=7)


def answered(tiny, pruner, skipped):
    loop = Answering(tiny, SHAPES, pruner, FeatureCache(2**30), skipped, BatchSize(8))
    return [record.id for batch in loop.answer([SHAPES.samples()]) for record in batch]


@pytest.mark.parametrize(
    ("pruner", "positions", "fits"),
    [
        (NoPruning(), "contiguous", False),
        (FastV(budget=8, layer=1, budget_as="after"), "contiguous", False),
        (Random(budget=8), "contiguous", True),
        (Random(budget=8), "preserved", False),
    ],
    ids=["unpruned", "in the LLM", "before the LLM", "preserved"],
)
def test_the_positions_that_a_pruned_prompt_needs_decide(pruner, positions, fits, monkeypatch):
    model = load(WEIGHTS)
    model.rules = type(model.rules)(positions=positions)
    monkeypatch.setattr(model.model.config.get_text_config(), "max_position_embeddings", 100)
    names = [sample.id for sample in SHAPES.samples()]
    skipped = Skipped(allowed=True)
    assert answered(model, pruner, skipped) == (names if fits else [])
    assert list(skipped.reasons) == ([] if fits else names)
    if not fits:
        assert "positions, and the LLM has 100" in skipped.reasons[names[0]]
        with pytest.raises(UserError, match=f"sample {names[0]}: its prompt takes"):
            answered(model, pruner, Skipped(allowed=False))


def test_only_the_prompts_that_are_too_long_are_left_out(tiny, monkeypatch):
    every, samples = Skipped(allowed=True), SHAPES.samples()
    prompts = [tiny.chat_prompt(sample.prompt) for sample in samples]
    features = tiny.encode(tiny.process(samples[0].visual()))
    lengths = tiny.words([features] * len(samples), prompts)["attention_mask"].sum(dim=1).tolist()
    longest = max(lengths)
    assert min(lengths) < longest
    monkeypatch.setattr(tiny.model.config.get_text_config(), "max_position_embeddings", longest - 1)
    fitting = [sample.id for sample, length in zip(samples, lengths, strict=True) if length < longest]
    assert answered(tiny, NoPruning(), every) == fitting


def test_an_answer_ends_at_the_last_position(monkeypatch):
    model, pruner, samples = load(WEIGHTS), Random(budget=8), SHAPES.samples()
    model.model.generation_config.eos_token_id = None  # all answers are as long as they may be
    features = model.encode(model.process(samples[0].visual()))
    prompts = [model.chat_prompt(sample.prompt) for sample in samples]
    inputs = model.words([features] * len(samples), prompts)
    prompt = model.prune(inputs, [features.image] * len(samples), pruner, keys=[one.id for one in samples])

    class Numbers:
        def batch_decode(self, rows, **_):
            return [" ".join(map(str, row.tolist())) for row in rows]

    model.processing = replace(model.processing, tokenizer=Numbers())
    by_length = {length: model.generate(prompt, length).texts for length in range(1, 5)}
    needed = positions_needed(prompt.arguments)
    there = max(needed) + 1
    monkeypatch.setattr(model.model.config.get_text_config(), "max_position_embeddings", there)
    left = [min(4, there - positions + 1) for positions in needed]
    assert 2 in left
    expected = [by_length[length][row] for row, length in enumerate(left)]
    assert model.generate(prompt, 4).texts == expected


def test_positions_needed():
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert positions_needed({"attention_mask": mask}) == [2, 3]
    kept = torch.tensor([[0, 4, 9], [0, 1, 2]])
    assert positions_needed({"attention_mask": mask, "position_ids": kept}) == [10, 3]
    axes = torch.stack([kept, kept * 0, kept + 1, kept])
    assert positions_needed({"attention_mask": mask, "position_ids": axes}) == [11, 4]


def test_stretched_positions(tiny, monkeypatch):
    llm = tiny.model.config.get_text_config()
    for rope, there in (
        (None, 1024), ({"rope_type": "linear", "factor": 4.0}, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, 2048),
        ({"rope_type": "llama3", "factor": 8.0}, 1024),
    ):  # fmt: skip
        monkeypatch.setattr(llm, "rope_parameters", rope)
        assert positions_of(tiny.model.config) == there


def test_a_strip_that_the_model_does_not_take(tiny):
    def refuse(*_, **__):
        raise ValueError("absolute aspect ratio must be smaller than 200")

    processing = replace(tiny.processing, image_processor=refuse)
    with pytest.raises(UserError, match=r"does not take the image of 10,000 x 1 pixels .absolute aspect"):
        processing.pixels(tiny.adapter, [Image.new("RGB", (10_000, 1))])

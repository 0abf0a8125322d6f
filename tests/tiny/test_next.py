"""The model with crops, before it is trained: the same weights, with a newline token of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from small_llava import load
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from script_exp.benchmarks.shapes import NextShapes
from script_exp.cell.build import build_pruner
from script_exp.config.benchmark_config import benchmark_config
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError
from script_exp.models.budgets import compares_frames
from script_exp.models.loading import checkpoint
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import NoPruning, Random, Script
from script_exp.shapes.next_scenes import paint_picture
from script_exp.shapes.questions import KINDS
from script_exp.sweeps.experiment import composed_cells, experiment_cells
from script_exp.tiny import WEIGHTS
from script_exp.training.monitor import MONITOR_SEED
from script_exp.training.next_model import build_next, save_next
from script_exp.training.start import load_start
from script_exp.training.vocabulary import WORDS

TOO_FEW_LAYERS = {"v2drop", "vtw"}  # they refuse budgets that an average over four layers cannot reach
UNBUDGETED = {"none", "composed"}
METHODS = sorted({file.stem for file in (CONF / "pruner").glob("*.yaml")} - TOO_FEW_LAYERS - UNBUDGETED)
QUESTION = "what color is the star?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    stage, start = load_start(WEIGHTS, len(WORDS))
    made = tmp_path_factory.mktemp("next")
    save_next(build_next(start), stage.clip, made, {})
    return made


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


def picture(rows, columns):
    return Image.fromarray(paint_picture(np.random.default_rng(1), 20, rows, columns).image)


def pruned(model, inputs, pruner):
    images = model.encode_images(inputs, pruner.reads)
    queries = model.encode_queries([QUESTION], pruner.reads) if pruner.reads.question else None
    return model.prune(inputs, images, pruner, queries, ["0"])


@torch.inference_mode()
def test_keeping_all_is_the_stock_llava_next(folder, model):
    """With a picture that leaves parts of its four crops empty: 36 rows of 48 patches are cut out of them."""
    stock = LlavaNextForConditionalGeneration.from_pretrained(folder).eval()
    text = f"USER: <image>\n{QUESTION} ASSISTANT:"
    given = AutoProcessor.from_pretrained(folder)(images=picture(36, 48), text=text, return_tensors="pt")
    reference = stock(**given, logits_to_keep=1).logits
    inputs = model.preprocess([[picture(36, 48)]], [model.chat_prompt(QUESTION)])
    kept = pruned(model, inputs, Random(budget=576))
    assert torch.equal(model.model(**kept.arguments, logits_to_keep=1).logits, reference)
    assert (kept.crops, kept.offered, kept.entering, kept.separators) == ([5], [2880], [576 + 36 * 48], [36])


@pytest.mark.parametrize(("size", "crops"), [((48, 48), 5), ((48, 24), 3)])
def test_the_budget_is_per_crop(model, size, crops):
    inputs = model.preprocess([[picture(*size)]], [model.chat_prompt(QUESTION)])
    assert pruned(model, inputs, NoPruning()).separators == [48]
    for budget in (128, 64, 32):
        assert pruned(model, inputs, Script(budget=budget)).entering == [crops * budget]


@pytest.mark.slow
def test_every_method_meets_the_budgets_of_the_table(model):
    """640, 320 and 160 of 2,880 tokens: before the LLM in every crop, inside it after its last stage."""
    inputs = model.preprocess([[picture(48, 48)]], [model.chat_prompt(QUESTION)])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [
            RunSettings.from_config(compose("config", ["model=tiny_next", f"pruner={name}"]))
            for name in METHODS
        ]
    of_images = [one for one in settings if not compares_frames(build_pruner(replace(one, budget=128)))]
    assert len(of_images) > 30
    for one, budget in product(of_images, (128, 64, 32)):
        prompt = pruned(model, inputs, build_pruner(replace(one, budget=budget)))
        if one.pruner["name"] == "downsample":  # the largest grid within the budget
            assert prompt.entering == [5 * {128: 11 * 11, 64: 8 * 8, 32: 5 * 6}[budget]]
        elif prompt.layer_pruner is None:
            assert prompt.entering == [5 * budget], one.pruner["name"]
        else:
            assert int(model.generate(prompt, 1).remaining.sum()) == 5 * budget, one.pruner["name"]


def test_the_published_table_can_be_made_with_it(folder):
    cell = ["model=tiny_next", "benchmark=shapes_next", f"model.path={folder}", "budget=32"]
    states = experiment_cells(["experiment=paper_llava_next", *cell])
    assert [state.state for state in states] == ["missing"] * 3
    configs = [config for _, config in composed_cells(["experiment=paper_llava_next", *cell])]
    cells = {(config.model.name, config.benchmark.name, config.pruner.name) for config in configs}
    assert cells == {("tiny_next", "shapes_next", name) for name in ("none", "trim", "script")}
    assert {config.model.adapter.rpartition(".")[2] for config in configs} == {"LlavaNextWholeAdapter"}


def test_without_weights_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EMBEDDED", {"embedded_next": tmp_path})
    with pytest.raises(
        SettingError, match=r"model.path=embedded_next: expected .*train_tiny.py --model next"
    ):
        checkpoint.find_checkpoint(Wanted("embedded_next"), needs_query=True)


def test_the_benchmark_has_its_own_pictures():
    names = ("shapes", "shapes_large", "shapes_2", "shapes_next")
    settings = [benchmark_config(name) for name in names]
    assert len({one["scene_seed"] for one in settings} - {MONITOR_SEED}) == len(names)
    samples = NextShapes(scenes=2, scene_seed=settings[-1]["scene_seed"]).samples()
    assert {sample.kind for sample in samples} <= set(KINDS)
    assert all(max(sample.visual().size) == 384 for sample in samples)

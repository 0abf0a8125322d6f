"""What only Mistral 3 has: words between the rows of an image, which the setting ``newline`` is about."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import CONFIGS, QUESTIONS, build, picture, pruned_rows
from flop_counter import counted
from transformers import LlamaConfig

from script_exp.errors import SettingError, UserError
from script_exp.measure import flops
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.mistral3 import Mistral3Adapter
from script_exp.models.loading.random_weights import random_tokenizer
from script_exp.models.processing import Processing
from script_exp.models.question import bare_questions
from script_exp.pruners import FastV, Graph, NoPruning

IMAGES = [picture(84, 112), picture(28, 56), picture(56, 140)]
ROWS = [([IMAGES[0]], 0), ([IMAGES[2]], 1)]
BREAK, END = 12, 13


@pytest.fixture
def model(tmp_path):
    return build("mistral3", tmp_path)


def test_an_image_is_written_row_by_row_and_encoded_as_by_the_stock_model(model):
    inputs = model.adapter.process(model.processing.image_processor, [IMAGES[:2], IMAGES[2:]])
    assert inputs["image_sizes"].tolist() == [[84, 112], [28, 56], [56, 140]]
    wide, small, flat = model.adapter.texts(inputs, "#")
    assert wide == "####[IMG_BREAK]####[IMG_BREAK]####[IMG_END]"
    assert small == "##[IMG_END]"
    assert flat == "#####[IMG_BREAK]#####[IMG_END]"
    images = model.adapter.encode_images(inputs, None)
    stock = model.model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    for image, rows in zip(images, stock, strict=True):
        assert torch.equal(image.packed, rows)
        torch.testing.assert_close(image.visual.project(image.visual.tower)[0], rows)
    parts = model.adapter.pixels_of(inputs, images)
    assert [tuple(part.shape) for part in parts] == [(3, 84, 112), (3, 28, 56), (3, 56, 140)]


def test_a_picture_larger_than_the_tower_is_scaled_to_whole_tokens(model):
    inputs = model.process(picture(300, 1000))
    assert inputs["image_sizes"].tolist() == [[84, 280]]  # 84 x 280 after the longest edge of 280
    assert model.adapter.lengths(inputs) == [30]


def test_the_tower_attends_across_all_images_of_a_call(tmp_path):
    """The mask hides other images, but their products are computed: more than the sum of single images."""
    model = build("mistral3", tmp_path, attention="eager")
    inputs = model.preprocess([[IMAGES[0], IMAGES[0]]], [model.processing.mark * 2])
    grids = [image.grid for image in model.encode_images(inputs)]
    assert grids == [(1, 6, 8)] * 2
    together, alone = (
        flops.vision_stages(Mistral3Adapter, model.model.config, len(own), own) for own in (grids, grids[:1])
    )
    assert sum(together.values()) == counted(lambda: model.encode_images(inputs))
    assert together["vision_tower"] > 2 * alone["vision_tower"]


@pytest.mark.parametrize("newline", ["keep", "drop"])
def test_breaks_are_separators_and_the_end_is_text(tmp_path, newline):
    model = build("mistral3", tmp_path, newline=newline, positions="preserved")
    whole, _ = pruned_rows(model, ROWS, NoPruning())
    prompt, _ = pruned_rows(model, ROWS, Graph(budget=3))
    assert whole.separators == [2, 1]  # pruning decides nothing where there is none
    assert prompt.separators == ([2, 1] if newline == "keep" else [0, 0])
    ids, before = prompt.arguments["input_ids"], whole.arguments["input_ids"]
    assert (ids == BREAK).sum(dim=1).tolist() == prompt.separators
    assert torch.equal((ids == END).sum(dim=1), (before == END).sum(dim=1))
    assert prompt.entering == [3, 3]
    for row, places in enumerate(prompt.arguments["position_ids"]):  # where each token was
        real = before[row][whole.arguments["attention_mask"][row].bool()]
        own = prompt.arguments["attention_mask"][row].bool()
        assert torch.equal(real[places[own]], ids[row][own])
    inside, _ = pruned_rows(model, ROWS, FastV(budget=3, layer=1, budget_as="after"))
    assert inside.separators == [2, 1]  # the whole prompt enters


def test_the_question_is_found_among_the_words_of_an_image(model):
    inputs = model.preprocess([[picture(56, 140)]] * 3, [model.chat_prompt(text) for text in QUESTIONS])
    assert bare_questions(model, inputs["input_ids"]) == QUESTIONS


def test_what_does_not_fit_is_refused(model):
    for key, changed, expected in [
        ("vision_config", {"vision_config": CONFIGS["llava"]().vision_config}, "pixtral"),
        ("vision_feature_layer", {"vision_feature_layer": -2}, "-1"),
        ("text_config", {"text_config": LlamaConfig()}, "mistral"),
    ]:
        config = CONFIGS["mistral3"]()
        for name, value in changed.items():
            setattr(config, name, value)
        with pytest.raises(SettingError, match=rf"{key}.*: expected {expected}, the only one"):
            Mistral3Adapter.check_config(config)
    foreign = replace(model.processing, tokenizer=random_tokenizer(CONFIGS["llava"](), LlavaAdapter))
    with pytest.raises(UserError, match=r"no token \[IMG_BREAK\]: expected the one of the checkpoint"):
        Processing.of(foreign, model.adapter)

"""LLaVA-NeXT without unpadding: no part of the budget is lost, and rows are in the picture's order."""

from __future__ import annotations

import pytest
import torch
from families import build
from PIL import Image

from script_exp.models.families.adapter import SEPARATOR
from script_exp.models.families.llava_next_whole import LlavaNextWholeAdapter
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import NoPruning, Random

SIDE = 12


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build("llava_next", tmp_path_factory.mktemp("llava_next"))


@pytest.fixture(scope="module")
def whole(stock):
    return PrunableModel(stock.model, stock.processing, LlavaNextWholeAdapter(stock.model), None)


def encoded(model, size):
    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.to(torch.uint8).numpy())
    inputs = model.preprocess([[picture]], [model.chat_prompt("what is it?")])
    (image,) = model.encode_images(inputs)
    return inputs, image


@pytest.mark.parametrize(
    ("size", "crops"), [((640, 480), 5), ((375, 500), 5), ((800, 300), 4), ((150, 150), 3)]
)
def test_every_method_keeps_k_of_each_crop(whole, size, crops):
    inputs, image = encoded(whole, size)
    placeholders = int((inputs["input_ids"] == whole.adapter.placeholder_id).sum())
    assert (image.crops, len(image.packed), placeholders) == (crops, crops * SIDE**2, crops * SIDE**2)
    for pruner, kept in ((Random(budget=64), 64), (NoPruning(), SIDE**2)):
        pruned = whole.prune(inputs, [image], pruner, None, ["a"])
        text = inputs["input_ids"].shape[1] - placeholders
        assert pruned.arguments["input_ids"].shape[1] == text + crops * kept


def test_rows_follow_the_picture(whole):
    """Three crops side by side or one above the other, beside the base one, written out."""
    for size, rows, columns in (((500, 160), 1, 3), ((160, 500), 3, 1)):
        _, image = encoded(whole, size)
        projected = image.visual.projected
        expected = list(projected[0])
        for row in range(rows * SIDE):
            for column in range(columns * SIDE):
                crop = 1 + (row // SIDE) * columns + column // SIDE
                expected.append(projected[crop, (row % SIDE) * SIDE + column % SIDE])
        assert torch.equal(image.packed, torch.stack(expected))


def test_without_padding_it_is_the_stock_model_but_for_newlines(stock, whole):
    _, before = encoded(stock, (672, 672))
    _, after = encoded(whole, (672, 672))
    assert torch.equal(after.packed, before.packed[before.source != SEPARATOR])
    assert torch.equal(after.source, before.source[before.source != SEPARATOR])

"""What only InternVL has: tiles with a thumbnail behind them, which pruners see first."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from families import build, picture
from transformers import InternVLProcessor

from script_exp.pruners.contract.signals import Reads


def test_tiles_and_their_thumbnail(tmp_path):
    model = build("internvl", tmp_path)
    rows = [[picture(200, 500)], [picture(112, 112)]]
    inputs = model.preprocess(rows, [model.chat_prompt("what?")] * 2)
    assert inputs["tile_grids"].tolist() == [[2, 5], [1, 1]]
    assert len(inputs["pixel_values"]) == 11 + 1
    images = model.encode_images(inputs, Reads(joint=True))
    assert [image.visual.tiles for image in images] == [(2, 5), None]
    core = model.model.model
    stock = core.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
    first = images[0].visual
    assert torch.equal(images[0].packed, stock[:11].flatten(0, 1))
    assert torch.equal(first.projected[0], stock[10])  # the thumbnail
    assert torch.equal(first.projected[1:], stock[:10])
    assert torch.equal(first.project(first.tower), first.projected)
    assert torch.equal(first.joint, first.projected)
    assert torch.equal(images[0].packed, first.projected.flatten(0, 1)[images[0].source])
    assert torch.equal(images[1].packed, stock[11])
    pictures = model.adapter.pictures(model.processing.image_processor, model.process(rows[0][0]))
    assert pictures.shape == (11, 112, 112, 3)
    whole = picture(200, 500).resize((112, 112))
    assert abs(pictures[0].astype(float) - whole).mean() < 12  # in contrast to a tile
    processor = SimpleNamespace(
        start_image_token="<img>", end_image_token="</img>", image_token="*", image_seq_length=16
    )
    texts = model.adapter.texts(inputs, "*")
    for index, text in enumerate(texts):
        wanted = InternVLProcessor.replace_image_token(processor, {"num_patches": [11, 1]}, index)
        assert text == wanted
    words = {name: inputs[name] for name in ("input_ids", "pixel_values")}  # of the stock processor
    assert [image.crops for image in model.encode_images(words)] == [11, 1]

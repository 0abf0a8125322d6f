"""What only SmolVLM and Idefics3 have: words around every tile, rows filled up with tiles of zeros."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from families import build, picture
from transformers import Idefics3Processor, SmolVLMProcessor


@pytest.mark.parametrize(
    ("family", "processor"), [("smolvlm", SmolVLMProcessor), ("idefics3", Idefics3Processor)]
)
def test_the_prompt_is_that_of_the_stock_processor(tmp_path, family, processor):
    model = build(family, tmp_path)
    rows = [[picture(80, 320), picture(224, 320)], [picture(320, 80)]]
    inputs = model.adapter.process(model.processing.image_processor, rows)
    assert inputs["tile_grids"].tolist() == [[1, 4], [3, 4], [4, 1]]
    assert inputs["pixel_values"].shape[:2] == (2, 5 + 13)
    stock = SimpleNamespace(
        image_seq_len=16,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        global_image_tag="<global-img>",
    )
    given = {"rows": [[1, 3], [4]], "cols": [[4, 4], [1]]}
    wanted = [processor.replace_image_token(stock, given, index) for index in range(3)]
    assert model.adapter.texts(inputs, "<image>") == wanted
    images = model.adapter.encode_images(inputs, None)
    stock_rows = model.model.model.get_image_features(inputs["pixel_values"]).pooler_output
    packed = torch.cat([image.packed for image in images])
    assert torch.equal(packed, torch.cat(list(stock_rows)))
    assert [image.visual.tiles for image in images] == [(1, 4), (3, 4), (4, 1)]
    parts = model.adapter.pixels_of(inputs, images)
    assert [len(part) for part in parts] == [5, 13, 5]
    assert torch.equal(parts[2], inputs["pixel_values"][1, :5])

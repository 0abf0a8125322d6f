"""Downsample: the picture made smaller, against stock models on pictures that PIL made smaller."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from families import QUESTIONS, build, picture, pruned_rows, visuals
from PIL import Image
from processes import last_line, run
from small_llava import images

from script_exp import prune, select
from script_exp.errors import SettingError, UserError
from script_exp.models.families.registry import ADAPTERS
from script_exp.pruners import Downsample, VisualTokens
from script_exp.pruners.arithmetic.cells import centers, covering
from script_exp.pruners.contract.budget import grid_within
from script_exp.pruners.contract.signals import NOTHING, Reads


def test_the_smaller_grid_has_the_pictures_shape_and_at_most_the_budget():
    shapes = {192: (13, 14), 128: (11, 11), 64: (8, 8), 32: (5, 6), 1: (1, 1), 576: (24, 24), 1 / 9: (8, 8)}
    assert {k: grid_within(k, (24, 24)) for k in shapes} == shapes
    assert grid_within(600, (24, 24)) == (24, 24)
    for grid in ((24, 24), (7, 30), (30, 7), (1, 9)):
        for k in range(1, math.prod(grid) + 1):
            h, w = grid_within(k, grid)
            scale = math.sqrt(k / math.prod(grid))
            assert 1 <= h * w <= k
            assert h == max(1, min(k, math.floor(scale * grid[0] + 1e-9)))
            assert w == min(math.ceil(scale * grid[1] - 1e-9), k // h)
            places = centers((h, w), grid, torch.device("cpu"))
            assert covering((h, w), grid, torch.device("cpu"))[places].tolist() == list(range(h * w))


def by_pil(pixels, height, width):
    """Pixels (channels, rows, columns) made smaller by PIL, channel by channel."""
    small = [
        np.asarray(Image.fromarray(one.numpy(), mode="F").resize((width, height), Image.Resampling.BILINEAR))
        for one in pixels
    ]
    return torch.from_numpy(np.stack(small))


def short(model, inputs, count):
    """A prompt's ids, of one row without padding, with ``count`` placeholders."""
    ids = inputs["input_ids"][0]
    own = ids == model.adapter.placeholder_id
    first = int(own.nonzero()[0])
    kept = [ids[:first], ids[own][:count], ids[first:][~own[first:]]]
    return torch.cat(kept)[None]


def last_logits(model, prompt):
    return model.prefill(prompt).logits[:, -1]


@torch.no_grad()
def test_llava_is_the_stock_model_on_the_smaller_picture(llava):
    """A run, ``prune`` and ``select`` all have what the stock model answers to the smaller picture."""
    pruner = Downsample(budget=66)  # 8 x 8
    inputs = llava.preprocess([images(1)], [llava.chat_prompt("what is it?")])
    side = 8 * llava.model.config.vision_config.patch_size
    pixels = by_pil(inputs["pixel_values"][0], side, side)[None]
    ids = short(llava, inputs, 64)
    mask = torch.ones_like(ids)
    features = llava.model.model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
    embedded = llava.model.get_input_embeddings()(ids)
    embedded[ids == llava.adapter.placeholder_id] = features[0]
    stock = llava.model(inputs_embeds=embedded, attention_mask=mask).logits[:, -1]

    encoded = llava.encode_images(inputs, pruner.reads)
    prompt = llava.prune(inputs, encoded, pruner)
    assert prompt.kept[0].tokens.shape[:2] == (1, 64)
    torch.testing.assert_close(prompt.kept[0].tokens[0], features[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last_logits(llava, prompt), stock, atol=1e-4, rtol=1e-4)
    assert (prompt.before, prompt.entering, prompt.offered) == ([576], [64], [576])
    (places,) = select(llava.model, llava.processing, pruner, inputs)
    assert torch.equal(places, prompt.kept[0].indices)
    wanted = llava.generate(prompt, 4).texts
    with prune(llava.model, llava.processing, pruner):
        ids = llava.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    new = llava.processing.tokenizer.batch_decode(
        ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert [text.strip() for text in new] == wanted

    whole = llava.prune(inputs, llava.encode_images(inputs, Reads(smaller_to=576)), Downsample(budget=576))
    assert torch.equal(
        last_logits(llava, whole), llava.model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
    )


@torch.no_grad()
def test_qwen_is_the_stock_model_on_the_smaller_picture(tmp_path):
    model, pruner = build("qwen2_5_vl", tmp_path), Downsample(budget=7)
    processor = model.processing.image_processor
    whole = picture(84, 140)  # 3 x 5 merged tokens
    inputs = model.preprocess([[whole]], [model.chat_prompt("what is it?")])
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 10]]
    mean, std = (torch.tensor(getattr(processor, f"image_{name}"))[:, None, None] for name in ("mean", "std"))
    pixels = (torch.from_numpy(np.array(whole)).permute(2, 0, 1) / 255 - mean) / std
    small = by_pil(pixels.float(), 2 * 28, 3 * 28)  # 2 x 3 of at most 7
    given = processor(
        small.numpy(), do_resize=False, do_rescale=False, do_normalize=False, return_tensors="pt",
        input_data_format="channels_first",
    )  # fmt: skip
    ids = short(model, inputs, 6)
    stock = model.model(
        input_ids=ids, attention_mask=torch.ones_like(ids), **given,
        mm_token_type_ids=(ids == model.adapter.placeholder_id).int(),
    ).logits[:, -1]  # fmt: skip
    prompt = model.prune(inputs, model.encode_images(inputs, pruner.reads), pruner)
    assert prompt.grids == [[(1, 4, 6)]]
    assert (prompt.before, prompt.entering) == ([15], [6])
    torch.testing.assert_close(last_logits(model, prompt), stock, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision", "qwen2_5_vl"])
@torch.no_grad()
def test_every_crop_and_a_batch_like_its_rows(family, tmp_path):
    """Crops keep their own tokens, wherever the model packs them; the rest of the prompt stays."""
    model, pruner = build(family, tmp_path), Downsample(budget=6)
    rows = list(zip(visuals(family)[:2], range(2), strict=True))  # OneVision scales down the third
    prompt, encoded = pruned_rows(model, rows, pruner)
    for row, (kept, image) in enumerate(zip(prompt.kept, encoded, strict=True)):
        crops, count = kept.indices.shape
        assert count == math.prod(grid_within(6, image.visual.grid)) <= 6
        own, one = pruned_rows(model, [rows[row]], pruner)
        torch.testing.assert_close(kept.tokens, own.kept[0].tokens, atol=1e-4, rtol=1e-4)
        cells = covering(image.visual.smaller, image.visual.grid, kept.tokens.device)
        assert torch.equal(one[0].visual.projected, own.kept[0].tokens[:, cells])
        assert prompt.entering[row] == int(torch.isin(image.source, flat(kept, image)).sum())
    if family == "qwen2_5_vl":
        return
    vision = model.model.config.vision_config
    side = vision.image_size // vision.patch_size
    processed = model.preprocess([rows[0][0]], [model.chat_prompt(QUESTIONS[0])])["pixel_values"][0]
    shape = grid_within(6, (side, side))
    small = torch.stack([by_pil(one, *(14 * length for length in shape)) for one in processed])
    states = model.model.model.vision_tower(
        small, interpolate_pos_encoding=True, output_hidden_states=True
    ).hidden_states[model.model.config.vision_feature_layer]
    first = int(model.model.config.vision_feature_select_strategy == "default")
    tokens = model.model.model.multi_modal_projector(states[:, first:])
    crops = len(prompt.kept[0].tokens)
    torch.testing.assert_close(prompt.kept[0].tokens, tokens[:crops], atol=1e-4, rtol=1e-4)


def flat(kept, image):
    n = image.visual.projected.shape[1]
    return (kept.indices + n * torch.arange(len(kept.indices))[:, None]).flatten()


def test_a_run_says_what_came_out_and_what_it_cost(tmp_path):
    process = run("benchmark.scenes=1", "limit=2", "pruner=downsample", "budget=32", "record_kept=true",
                  f"outputs={tmp_path}")  # fmt: skip
    line = last_line(process)
    assert line["tokens_kept"] == 30
    folder = Path(line["run_dir"])
    for record in map(json.loads, (folder / "samples.jsonl").read_text().splitlines()):
        assert (record["visual"], record["kept"], record["offered"]) == (576, 30, 576)
        assert len(record["kept_indices"][0]) == 30
    result = json.loads((folder / "result.json").read_text())
    (unpruned,) = folder.parent.glob("none-*/result.json")
    small, whole = (one["flops"]["stages"] for one in (result, json.loads(unpruned.read_text())))
    for stage in ("vision_tower", "projector"):
        assert 0.02 * whole[stage] < small[stage] < 0.06 * whole[stage]  # 30 of 576 patches
    assert small["pruner"] == 0
    counts = result["tokens"]
    assert (counts["visual"], counts["kept"], counts["requested"]) == (576, 30, 32)
    assert result["latency"]["stages"]["vision"]["median"] > 0


def test_what_cannot_be_made_smaller_is_one_sentence(llava):
    for family in ("llava_next_video", "llava_onevision", "qwen2_5_vl"):
        adapter = ADAPTERS[family].taking("video")
        with pytest.raises(UserError, match=r"pictures cannot be made smaller for .*expected a method that"):
            adapter.check_reads(Downsample(budget=4).reads, None)
    with pytest.raises(SettingError, match="budget=577: expected at most 576"):
        Downsample(budget=577).kept_of(576)
    inputs = llava.preprocess([images(1)], [llava.chat_prompt("what is it?")])
    with pytest.raises(ValueError, match="needs a smaller picture, which the model was not asked for"):
        llava.prune(inputs, llava.encode_images(inputs), Downsample(budget=4))
    with pytest.raises(SettingError, match="expected a method that needs no grid"):
        Downsample(budget=4)(VisualTokens(torch.ones(1, 9, 2), smaller=(2, 2)))
    with pytest.raises(ValueError, match="encoded apart"):
        NOTHING | Downsample(budget=4).reads

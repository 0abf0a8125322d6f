"""What only Qwen3-VL has: times as words of a video's prompt, and rows that the first layers add."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from families import build, picture, pruned_rows
from flop_counter import counted
from transformers import Qwen3VLProcessor

from script_exp.benchmarks.reading.frame_count import Frames
from script_exp.measure import flops
from script_exp.pruners import Downsample, Random, ToMe


@pytest.mark.parametrize("count", [4, 5])
def test_a_video_is_written_as_by_the_stock_processor(tmp_path, count):
    """But for a second start and end, where the template has them already."""
    model = build("qwen3_vl_video", tmp_path)
    video = Frames([picture(120, 150, seed) for seed in range(count)], rate=0.7)
    inputs = model.process(video)
    (text,) = model.adapter.texts(inputs, "<|video_pad|>")
    stock = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        _calculate_timestamps=lambda *given: Qwen3VLProcessor._calculate_timestamps(None, *given),
    )
    metadata = SimpleNamespace(fps=0.7, frames_indices=list(range(count)))
    given = {"video_grid_thw": inputs["video_grid_thw"], "video_metadata": [metadata]}
    assert text == Qwen3VLProcessor.replace_video_token(stock, given, 0)
    assert text.count("seconds") == inputs["video_grid_thw"][0, 0] == -(-count // 2)
    prompt = model.chat_prompt("what?")
    (ids,) = model.preprocess([[video]], [prompt])["input_ids"]
    assert (ids == 292).sum() == (ids == 293).sum() == -(-count // 2)  # starts and ends


def test_what_the_first_layers_add_goes_with_its_rows(tmp_path):
    model = build("qwen3_vl", tmp_path)
    rows = [([picture(84, 112)], 0), ([picture(56, 140)], 1)]
    for pruner in (Random(budget=5), ToMe(budget=5), Downsample(budget=5)):
        prompt, images = pruned_rows(model, rows, pruner)
        levels = prompt.arguments["mm_encoder_outputs"]["image"].deepstack_features
        assert len(levels) == len(model.model.config.vision_config.deepstack_visual_indexes)
        for row, (image, kept) in enumerate(zip(images, prompt.kept, strict=True)):
            own = torch.stack([level[row] for level in levels])
            assert torch.equal(own, image.deep[:, kept.places])
    inputs = model.preprocess([own for own, _ in rows], [model.chat_prompt("what?")] * 2)
    stock = model.model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    images = model.encode_images(inputs)
    for row, image in enumerate(images):
        assert torch.equal(image.deep, torch.stack([level[row] for level in stock.deepstack_features]))
    assert images[0].nbytes >= images[0].deep.nbytes + images[0].packed.nbytes


@pytest.mark.parametrize("family", ["qwen3_vl_moe", "internvl_moe"])
def test_operations_of_a_mixture_of_experts_equal_the_counter(family, tmp_path):
    model = build(family, tmp_path, attention="eager")
    model.model.set_experts_implementation("eager")  # the counter does not see the default kernel
    prompt, _ = pruned_rows(model, [([picture(84, 112)], 0)], Random(budget=5))
    config, length = model.model.config.text_config, prompt.arguments["input_ids"].shape[1]
    total = counted(lambda: model.prefill(prompt))
    assert total == flops.decoder(config, [length] * config.num_hidden_layers) + flops.lm_head(config)

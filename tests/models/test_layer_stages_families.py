"""Pruning at several layers in LLMs with sliding windows and with positions on three axes."""

from __future__ import annotations

import pytest
import torch
from checkpoints import BOS, IMAGE, PAD, sharpen
from layer_reference import (
    GRID,
    LAYERS,
    NEW_TOKENS,
    PRUNERS,
    TEXTS,
    VISUAL,
    Row,
    check,
    generate,
    held,
    llava_inputs,
    llava_row,
    padded,
)
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
)

from script_exp.pruners import Pyramid

WINDOW = 16
SHAPE = {
    "vocab_size": 40, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": BOS,
    "eos_token_id": None, "pad_token_id": PAD,
}  # fmt: skip


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attention(request):
    return request.param


SLIDING = {
    "qwen2": (
        lambda: Qwen2Config(
            **SHAPE,
            use_sliding_window=True,
            sliding_window=WINDOW,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"] * 2,
        ),
        [None, WINDOW, WINDOW] * 2,
    ),
    "mistral": (lambda: MistralConfig(**SHAPE, sliding_window=WINDOW), [WINDOW] * LAYERS),
}


@pytest.mark.parametrize("family", SLIDING)
@pytest.mark.parametrize(
    "pruner", [PRUNERS[0], PRUNERS[4], Pyramid(budget=30, stages=[1, 3], budget_as="after")], ids=str
)
def test_sliding_windows(attention, family, pruner):
    """Layers of both kinds, each with the mask of its kind at the length that it has.

    The last pruner keeps tokens outside the window, that is with the lowest score, as padding has.
    """
    text, window = SLIDING[family]
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=4 * GRID,
        patch_size=4,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text(), image_token_index=IMAGE, image_seq_length=VISUAL
    )
    torch.manual_seed(0)
    model = sharpen(LlavaForConditionalGeneration._from_config(config, attn_implementation=attention))
    inputs = llava_inputs()
    output = generate(model, inputs, pruner)
    rows = [llava_row(model, inputs, row) for row in range(2)]
    check(model, output, rows, [pruner.schedule(VISUAL, LAYERS)] * 2, window)


@pytest.fixture(scope="module")
def qwen(attention):
    config = Qwen2_5_VLConfig(
        text_config=SHAPE
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}},
        vision_config={
            "depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 48,
            "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE, video_token_id=39, vision_start_token_id=38, vision_end_token_id=37,
    )  # fmt: skip
    torch.manual_seed(0)
    model = sharpen(Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation=attention))
    model.generation_config.eos_token_id = None
    return model


GRIDS = [(1, 8, 10), (1, 12, 6)]  # in patches; four make a token


def qwen_inputs():
    tokens = [t * h * w // 4 for t, h, w in GRIDS]
    prompts = [
        before + [38] + [IMAGE] * count + [37] + after
        for (before, after), count in zip(TEXTS, tokens, strict=True)
    ]
    inputs = padded(prompts)
    patches = sum(4 * count for count in tokens)
    return inputs | {
        "pixel_values": torch.randn(patches, 3 * 2 * 4 * 4, generator=torch.Generator().manual_seed(1)),
        "image_grid_thw": torch.tensor(GRIDS),
        "mm_token_type_ids": (inputs["input_ids"] == IMAGE).int(),
    }


@pytest.mark.parametrize("pruner", PRUNERS[:3:2], ids=str)
def test_qwen_equals_the_reference(qwen, pruner):
    """Positions on three axes, and images of different size in one batch."""
    inputs = qwen_inputs()
    output = generate(qwen, inputs, pruner)
    with torch.inference_mode():
        features = qwen.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        positions, _ = qwen.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=inputs["attention_mask"],
        )
    rows = []
    for index, image in enumerate(features.pooler_output):
        real = inputs["attention_mask"][index].bool()
        ids = inputs["input_ids"][index][real]
        with torch.inference_mode():
            embeddings = qwen.get_input_embeddings()(ids)
            embeddings[ids == IMAGE] = image
        rows.append(Row(embeddings[None], ids == IMAGE, positions[:, index, real][:, None]))
    schedules = [pruner.schedule(int(row.visual.sum()), LAYERS) for row in rows]
    check(qwen, output, rows, schedules)
    kept = max(
        schedule[max(schedule)] + int((~row.visual).sum())
        for schedule, row in zip(schedules, rows, strict=True)
    )
    assert held(output)[-1] == kept + NEW_TOKENS - 1


def test_qwen_keeping_all_is_the_unpruned_model_bitwise(qwen):
    inputs = qwen_inputs()
    pruned = generate(qwen, inputs, Pyramid(budget=0.999999, budget_as="after"))
    plain = qwen.generate(
        **inputs,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert torch.equal(pruned.sequences, plain.sequences)
    for one, other in zip(pruned.logits, plain.logits, strict=True):
        assert torch.equal(one, other)

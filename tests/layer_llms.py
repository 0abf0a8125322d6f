"""Small random models of several LLMs, built once, and prompts for them."""

from __future__ import annotations

from functools import cache

import torch
from checkpoints import BOS, IMAGE, PAD, sharpen
from layer_reference import GRID, LAYERS, TEXTS, VISUAL, Row, padded
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3Config,
)

WINDOW = 16
SHAPE = {
    "vocab_size": 40, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": BOS,
    "eos_token_id": None, "pad_token_id": PAD,
}  # fmt: skip
LLMS = {
    "llama": (lambda: LlamaConfig(**SHAPE), None),
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
    "qwen3": (lambda: Qwen3Config(**SHAPE, head_dim=12), None),
}
GRIDS = [(1, 8, 10), (1, 12, 6)]  # in patches; four make a token


@cache
@torch.inference_mode(False)
def llava(name, attention="sdpa"):
    """A LLaVA with an LLM of :data:`LLMS`, and the window of each of its layers."""
    text, windows = LLMS[name]
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=4 * GRID,
        patch_size=4,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text(), image_token_index=IMAGE, image_seq_length=VISUAL
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
    return sharpen(model), windows


@cache
@torch.inference_mode(False)
def qwen(attention="sdpa"):
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


@torch.inference_mode()
def qwen_rows(model, inputs):
    features = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    rows = []
    for index, image in enumerate(features.pooler_output):
        real = inputs["attention_mask"][index].bool()
        ids = inputs["input_ids"][index][real]
        embeddings = model.get_input_embeddings()(ids)
        embeddings[ids == IMAGE] = image
        rows.append(Row(embeddings[None], ids == IMAGE, positions[:, index, real][:, None]))
    return rows

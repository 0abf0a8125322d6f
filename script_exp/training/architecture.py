"""The tiny model's configurations, built with the Hugging Face classes of the real LLaVA and CLIP."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from script_exp.shapes.scenes import GRID, IMAGE_SIZE
from script_exp.shapes.sprites import PATCH
from script_exp.training.vocabulary import BEGIN, END, IMAGE, PAD, WORDS

TEXT_LENGTH = 77
"""Positions of the CLIP text tower, as in the real CLIP."""


@dataclass(frozen=True)
class Sizes:
    """Widths and depths; the defaults are the shipped model's, and tests train smaller models."""

    vision_width: int = 128
    vision_layers: int = 4
    text_width: int = 96
    text_layers: int = 2
    projection: int = 128
    language_width: int = 128
    language_layers: int = 4


def grid_positions(width: int) -> torch.Tensor:
    """Return (576, width) sine and cosine codes of row and column, to initialize the position embedding."""
    quarter = width // 4
    frequency = 1 / (100 ** (torch.arange(quarter) / quarter))
    angle = (torch.arange(GRID) / GRID * 6 * math.pi)[:, None] * frequency[None]
    code = torch.cat([angle.sin(), angle.cos()], 1)
    rows = code[:, None].expand(GRID, GRID, 2 * quarter)
    columns = code[None].expand(GRID, GRID, 2 * quarter)
    return torch.cat([rows, columns], -1).reshape(GRID * GRID, width)


def build_clip(sizes: Sizes) -> CLIPModel:
    """Build a fresh CLIP with eager attention, which is fastest for these short sequences in bf16."""
    config = CLIPConfig(
        text_config={
            "vocab_size": len(WORDS),
            "hidden_size": sizes.text_width,
            "intermediate_size": 3 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_width // 32,
            "max_position_embeddings": TEXT_LENGTH,
            "projection_dim": sizes.projection,
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "pad_token_id": PAD,
        },
        vision_config={
            "hidden_size": sizes.vision_width,
            "intermediate_size": 3 * sizes.vision_width,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_width // 32,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH,
            "projection_dim": sizes.projection,
        },
        projection_dim=sizes.projection,
    )
    model = CLIPModel(config)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.weight[1:] = 0.2 * grid_positions(sizes.vision_width)
    return model


def build_llava(sizes: Sizes, clip: CLIPModel) -> LlavaForConditionalGeneration:
    """Build a LLaVA with a fresh projector and language model around a copy of the CLIP vision tower."""
    text = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=sizes.language_width,
        intermediate_size=sizes.language_width * 11 // 4,
        num_hidden_layers=sizes.language_layers,
        num_attention_heads=sizes.language_width // 32,
        num_key_value_heads=sizes.language_width // 32,
        max_position_embeddings=1024,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
        tie_word_embeddings=False,
        initializer_range=0.04,
    )
    config = LlavaConfig(
        vision_config=clip.config.vision_config,
        text_config=text,
        image_token_index=IMAGE,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.set_attn_implementation("eager")
    return model

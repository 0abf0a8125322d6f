"""The tiny model as a LLaVA-NeXT: the same tower, projector and language model, and a newline token."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPModel,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

from script_exp.shapes.scenes import IMAGE_SIZE, Scene
from script_exp.training.export import PIXEL_MEAN, PIXEL_STD, save_folder

GRIDS = [[IMAGE_SIZE, 2 * IMAGE_SIZE], [2 * IMAGE_SIZE, IMAGE_SIZE], [2 * IMAGE_SIZE, 2 * IMAGE_SIZE]]
"""Heights and widths of two crops side by side, two below each other, and four."""
POSITIONS = 4096
"""Positions that the language model supports: 2,928 visual tokens of a picture and the text."""


@cache
def next_image_processor() -> LlavaNextImageProcessorPil:
    """Return a processor that cuts a picture into a base view and crops, as LLaVA-NeXT's does."""
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
        image_grid_pinpoints=GRIDS,
    )


def views(image: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return pixels (1, views, 3, 192, 192) of base view and crops, and height and width of the image."""
    made = next_image_processor()(Image.fromarray(image), return_tensors="pt")
    return made["pixel_values"], made["image_sizes"]


def build_next(llava: LlavaForConditionalGeneration) -> LlavaNextForConditionalGeneration:
    """Build a LLaVA-NeXT with the weights of a LLaVA; PyTorch's generator draws the newline token."""
    old = llava.config
    config = LlavaNextConfig(
        vision_config=old.vision_config,
        text_config={**old.text_config.to_dict(), "max_position_embeddings": POSITIONS},
        image_token_index=old.image_token_index,
        projector_hidden_act=old.projector_hidden_act,
        vision_feature_layer=old.vision_feature_layer,
        vision_feature_select_strategy=old.vision_feature_select_strategy,
        image_grid_pinpoints=GRIDS,
        image_seq_length=old.image_seq_length,
        tie_word_embeddings=False,
    )
    model = LlavaNextForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(llava.state_dict(), strict=False)
    if unexpected or missing != ["model.image_newline"]:
        raise ValueError(f"weights of another model: {missing} are missing, {unexpected} are unexpected")
    torch.nn.init.normal_(model.model.image_newline, std=0.1)
    return model


def packing(llava: LlavaNextForConditionalGeneration, size: Tensor, crops: int) -> Tensor:
    """Return what the model's visual tokens are made of, (length,): indices of patches, and -1 for newlines.

    Args:
        llava: packs the indices of all patches as it packs their features.
        size: (1, 2) height and width of the picture.
        crops: its views: base view and crops.
    """
    patches = llava.config.image_seq_length
    indices = torch.arange(crops * patches).view(crops, patches, 1)
    packed: Tensor = llava.model.pack_image_features(
        [indices], size, vision_feature_select_strategy="default", image_newline=torch.tensor([-1])
    )[0][0]
    return packed[:, 0]


def see_views(llava: LlavaNextForConditionalGeneration, scene: Scene) -> Tensor:
    """Return all visual tokens (length, width) of a picture."""
    pixels, sizes = views(scene.image)
    visual: Tensor = llava.model.get_image_features(pixels, sizes).pooler_output[0]
    return visual


def see_base(llava: LlavaNextForConditionalGeneration, scene: Scene) -> Tensor:
    """Return the visual tokens (576, width) of a picture's base view."""
    return see_views(llava, scene)[: llava.config.image_seq_length]


def save_next(
    llava: LlavaNextForConditionalGeneration, clip: CLIPModel, folder: Path, notes: Mapping[str, object]
) -> None:
    """Write model, processor and CLIP text side, as :func:`~script_exp.training.export.save_checkpoint`."""
    save_folder(llava, LlavaNextProcessor, next_image_processor(), clip, folder, notes)

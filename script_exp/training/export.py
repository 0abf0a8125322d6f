"""Write a trained model as a LLaVA folder, with the text side of its CLIP in a subfolder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPModel,
    GenerationConfig,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
)

from script_exp.shapes.scenes import IMAGE_SIZE
from script_exp.shapes.sprites import PATCH
from script_exp.training.architecture import TEXT_LENGTH
from script_exp.training.vocabulary import BEGIN, CHAT_TEMPLATE, END, PAD, SPECIAL, build_tokenizer

PIXEL_MEAN, PIXEL_STD = 110 / 255, 55 / 255
"""Normalization of pixels scaled to [0, 1], the same for all three channels."""
LANGUAGE_TEMPLATE, CLIP_TEMPLATE = "<s> $A", "<s> $A </s>"


def image_processor() -> CLIPImageProcessorPil:
    """Return a processor that only normalizes: a 192 x 192 image is neither resized nor cropped."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    )


def save_clip_text(clip: CLIPModel, folder: Path) -> None:
    """Save a CLIP folder without its vision tower, which the LLaVA folder already holds."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
    state = {name: value.contiguous() for name, value in clip.state_dict().items() if name.startswith(kept)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    clip.config.architectures = ["CLIPModel"]
    clip.config.save_pretrained(folder)
    known = clip.text_model.embeddings.token_embedding.num_embeddings
    build_tokenizer(CLIP_TEMPLATE, TEXT_LENGTH, known).save_pretrained(folder)


def save_checkpoint(
    llava: LlavaForConditionalGeneration, clip: CLIPModel, folder: Path, notes: Mapping[str, object]
) -> None:
    """Write model, processor and CLIP text side; ``notes`` (recipe, ...) go to ``training.json``."""
    save_folder(llava, LlavaProcessor, image_processor(), clip, folder, notes)


def save_folder(
    llava: LlavaForConditionalGeneration | LlavaNextForConditionalGeneration,
    processor: type[LlavaProcessor] | type[LlavaNextProcessor],
    images: CLIPImageProcessorPil | LlavaNextImageProcessorPil,
    clip: CLIPModel,
    folder: Path,
    notes: Mapping[str, object],
) -> None:
    """As :func:`save_checkpoint`, for a model with another processor."""
    folder.mkdir(parents=True, exist_ok=True)
    llava.generation_config = GenerationConfig(bos_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD)
    llava.to(torch.float32).save_pretrained(folder)
    processor(
        image_processor=images,
        tokenizer=build_tokenizer(
            LANGUAGE_TEMPLATE,
            llava.config.text_config.max_position_embeddings,
            llava.get_input_embeddings().num_embeddings,
        ),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=SPECIAL[-1],
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    save_clip_text(clip, folder / "clip")
    (folder / "training.json").write_text(json.dumps(notes, indent=2, sort_keys=True) + "\n")

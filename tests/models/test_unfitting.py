"""Checkpoints of a known ``model_type`` that its adapter does not fit."""

from __future__ import annotations

import pytest
from checkpoints import tokenizer
from families import CONFIGS, EVERY, TOWER, clip, modality
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    Gemma3ImageProcessorPil,
    Glm4vImageProcessorPil,
    GotOcr2ImageProcessorPil,
    LlavaNextImageProcessorPil,
    LlavaOnevisionImageProcessorPil,
    PixtralImageProcessorPil,
    PixtralVisionConfig,
    Qwen2VLImageProcessorPil,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SmolVLMImageProcessorPil,
)

from script_exp.errors import SettingError, UserError
from script_exp.models.families.registry import ADAPTERS, adapter_of
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.fitting_processor import check_image_processor
from script_exp.models.loading.random_weights import random_tokenizer
from script_exp.models.loading.wanted import Wanted
from script_exp.models.processing import Processing

SIGLIP = SiglipVisionConfig(**TOWER, image_size=56, patch_size=14)
PIXTRAL = PixtralVisionConfig(**TOWER, head_dim=12, image_size=56, patch_size=14)
UNFITTING = {
    "llava": [
        ({"vision_config": PIXTRAL}, "vision_config.model_type=pixtral: expected clip_vision_model"),
        ({"vision_config": SIGLIP}, "vision_config.model_type=siglip_vision_model: expected clip_vision"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy=full: expected default"),
    ],
    "llava_next": [
        ({"vision_config": SIGLIP}, "vision_config.model_type=siglip_vision_model: expected clip_vision"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy=full: expected default"),
    ],
    "llava_next_video": [
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy=full: expected default"),
        ({"spatial_pool_mode": "conv"}, "spatial_pool_mode=conv: expected average or max"),
    ],
    "llava_onevision": [
        ({"vision_config": clip(56)}, "vision_config.model_type=clip_vision_model: expected siglip_vision"),
        ({"vision_feature_select_strategy": "default"}, "strategy=default: expected full: the first patch"),
    ],
}


@pytest.mark.parametrize("family", UNFITTING)
def test_another_tower_or_selection_is_refused_before_weights_are_looked_for(family, tmp_path):
    for number, (changes, expected) in enumerate(UNFITTING[family]):
        config = CONFIGS[family]()
        for key, value in changes.items():
            setattr(config, key, value)
        folder = tmp_path / str(number)
        config.save_pretrained(folder)
        for weights in ("random", "pretrained"):
            with pytest.raises(
                UserError, match=rf"model\.path=.*{number}: Llava.* does not fit: .*{expected}"
            ):
                find_checkpoint(Wanted(str(folder), weights=weights), needs_query=False)
        if family != "llava_next_video":
            model = AutoModelForImageTextToText.from_config(config)
            with pytest.raises(SettingError, match=expected):
                adapter_of(model)


SIDE = {"height": 70, "width": 70}
SQUARE = SiglipImageProcessorPil(size=SIDE)
OTHERS = [
    ("llava", SQUARE, "SiglipImageProcessorPil makes pictures of 70 x 70 values, and .* takes 168 x 168"),
    ("gemma3", SQUARE, "SiglipImageProcessorPil does not fit this model .TypeError.*do_pan_and_scan"),
    ("llava_next", SQUARE, "makes pixel_values, and this model takes pixel_values, image_sizes"),
    ("qwen2_5_vl", Qwen2VLImageProcessorPil(patch_size=16), "patches of 1536 values, .* takes 1176"),
]
FOREIGN = [
    SQUARE,
    CLIPImageProcessorPil(size={"shortest_edge": 70}, crop_size=SIDE),
    Gemma3ImageProcessorPil(size=SIDE),
    Glm4vImageProcessorPil(patch_size=16),
    GotOcr2ImageProcessorPil(size=SIDE),
    LlavaNextImageProcessorPil(size={"shortest_edge": 70}, crop_size=SIDE, image_grid_pinpoints=[[70, 140]]),
    LlavaOnevisionImageProcessorPil(size=SIDE, image_grid_pinpoints=[[70, 140]]),
    PixtralImageProcessorPil(size={"longest_edge": 70}),
    Qwen2VLImageProcessorPil(patch_size=16),
    SmolVLMImageProcessorPil(size={"longest_edge": 140}, max_image_size={"longest_edge": 70}),
]
"""A processor of every kind, at sizes that no tower here takes; Mistral 3 takes Pixtral's at any size."""


@pytest.mark.parametrize(("family", "processor", "expected"), OTHERS)
def test_what_does_not_fit_is_said(family, processor, expected):
    config = EVERY[family]()
    with pytest.raises(UserError, match=f"here: .*{expected}.*; expected the preprocessor_config.json"):
        check_image_processor("here", processor, ADAPTERS[family].taking(modality(family)), config)


@pytest.mark.parametrize("family", EVERY)
def test_parts_of_a_processor_of_another_model_are_refused_before_weights_are_loaded(family):
    """Each family takes its own."""
    config = EVERY[family]()
    adapter = ADAPTERS[config.model_type].taking(modality(family))
    own = adapter.random_image_processor(config)
    check_image_processor("here", own, adapter, config)
    for processor in FOREIGN:
        if type(processor) is type(own) is PixtralImageProcessorPil:
            continue
        with pytest.raises(UserError, match=f"here: {type(processor).__name__} .*; expected the preproc"):
            check_image_processor("here", processor, adapter, config)
    Processing.from_parts(random_tokenizer(config, adapter), own, adapter, config, None)
    with pytest.raises(UserError, match=r"the tokenizer has no token 29[01]: expected the one of the check"):
        Processing.from_parts(tokenizer(), own, adapter, config, None)

"""Checkpoints of a known ``model_type`` that its adapter does not fit."""

from __future__ import annotations

import pytest
from families import CONFIGS, TOWER, VARIANTS, clip, modality
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    PixtralVisionConfig,
    Qwen2VLImageProcessorPil,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from script_exp.errors import SettingError, UserError
from script_exp.models.families.registry import ADAPTERS, adapter_of
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.fitting_processor import check_image_processor
from script_exp.models.loading.wanted import Wanted

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


EVERY = CONFIGS | VARIANTS
SQUARE = SiglipImageProcessorPil(size={"height": 70, "width": 70})
OTHERS = [
    ("llava", SQUARE, "SiglipImageProcessorPil makes pictures of 70 x 70 values, and .* takes 168 x 168"),
    ("paligemma", SQUARE, "makes pictures of 70 x 70 values, and the vision tower takes 112 x 112"),
    ("gemma3", SQUARE, "SiglipImageProcessorPil does not fit this model .TypeError.*do_pan_and_scan"),
    ("llava_next", CLIPImageProcessorPil(), "makes pixel_values and no image_sizes, which this model needs"),
    ("internvl", CLIPImageProcessorPil(), "CLIPImageProcessorPil does not fit this model"),
    ("smolvlm", SQUARE, "SiglipImageProcessorPil does not fit this model"),
    ("qwen2_5_vl", Qwen2VLImageProcessorPil(patch_size=16), "patches of 1536 values, .* takes 1176"),
    ("qwen3_vl_video", SQUARE, "SiglipImageProcessorPil does not fit this model"),
    ("mistral3", SQUARE, "SiglipImageProcessorPil does not fit this model"),
]


def test_an_image_processor_of_another_model_is_refused_before_weights_are_loaded():
    """Every family takes its own."""
    for family, make in EVERY.items():
        config = make()
        adapter = ADAPTERS[config.model_type].taking(modality(family))
        check_image_processor("here", adapter.random_image_processor(config), adapter, config)
    for family, processor, expected in OTHERS:
        config = EVERY[family]()
        adapter = ADAPTERS[config.model_type].taking(modality(family))
        with pytest.raises(UserError, match=f"here: .*{expected}.*; expected the preprocessor_config.json"):
            check_image_processor("here", processor, adapter, config)

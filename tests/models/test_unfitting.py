"""Checkpoints of a known ``model_type`` that its adapter does not fit."""

from __future__ import annotations

import pytest
from families import CONFIGS, TOWER, clip
from transformers import (
    AutoModelForImageTextToText,
    PixtralVisionConfig,
    SiglipVisionConfig,
)

from script_exp.errors import SettingError, UserError
from script_exp.models.families.registry import adapter_of
from script_exp.models.loading.checkpoint import find_checkpoint
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

"""The tower of Qwen3-VL and Qwen3.5: its operations and its processor, and DeepStack, which Qwen3-VL has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2VLImageProcessorPil
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from script_exp.models.families.qwen2_5_vl_tower import Qwen25VLTower, patch_processor
from script_exp.models.tower_shape import TowerShape


class Qwen3Tower(Qwen25VLTower):
    """What images and videos share in Qwen3-VL and Qwen3.5: full attention and patches of 16 pixels."""

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return TowerShape(vision.hidden_size, vision.intermediate_size, vision.depth, patch)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return patch_processor(
            Qwen2VLImageProcessorPil,
            config.vision_config,
            size={"shortest_edge": 65536, "longest_edge": 16777216},  # pixels, as published
            image_mean=IMAGENET_STANDARD_MEAN,
            image_std=IMAGENET_STANDARD_STD,
        )


class Qwen3VLTower(Qwen3Tower):
    """What images and videos share in Qwen3-VL: also what the tower hands to the first decoder layers."""

    def deep_of(self, output: Any, index: int) -> Tensor:
        return torch.stack([level[index] for level in output.deepstack_features])

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        levels = [list(level) for level in zip(*deep, strict=True)]
        output = BaseModelOutputWithDeepstackFeatures(pooler_output=features, deepstack_features=levels)
        return {"mm_encoder_outputs": {self.modality: output}}

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count the merger, and one of its kind for each level of DeepStack."""
        mergers = 1 + len(config.vision_config.deepstack_visual_indexes)
        return mergers * super().projector_operations(config, patches)

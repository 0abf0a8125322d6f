"""Qwen2-VL: native resolution, full attention in the tower, 2 x 2 patch merger, M-RoPE."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2VLImageProcessorPil

from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.tower_shape import TowerShape


class Qwen2VLTower(ModelAdapter):
    """What images and videos share in Qwen2-VL. ``hidden_size`` of its tower's config is the LLM's width."""

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return TowerShape(vision.embed_dim, int(vision.embed_dim * vision.mlp_ratio), vision.depth, patch)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        vision = config.vision_config
        group = vision.spatial_merge_size**2
        width = vision.embed_dim * group
        return int(2 * (patches // group) * (width * width + width * vision.hidden_size))

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        vision = config.vision_config
        return Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
            min_pixels=56 * 56,  # as published
            max_pixels=16384 * 28 * 28,
            image_mean=[0.48145466, 0.4578275, 0.40821073],
            image_std=[0.26862954, 0.26130258, 0.27577711],
        )


class Qwen2VLVideoAdapter(Qwen2VLTower, Qwen25VLVideoAdapter):
    """``Qwen2VLForConditionalGeneration``, videos only; positions count time steps, not seconds."""


class Qwen2VLAdapter(Qwen2VLTower, Qwen25VLAdapter):
    """``Qwen2VLForConditionalGeneration`` on images."""

    video = Qwen2VLVideoAdapter

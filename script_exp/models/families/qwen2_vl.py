"""Qwen2-VL: native resolution, full attention in the tower, 2 x 2 patch merger, M-RoPE."""

from __future__ import annotations

from typing import Any

from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen2_5_vl_tower import Qwen25VLTower
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.tower_shape import TowerShape


class Qwen2VLTower(Qwen25VLTower):
    """What images and videos share in Qwen2-VL. ``hidden_size`` of its tower's config is the LLM's width."""

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return TowerShape(vision.embed_dim, int(vision.embed_dim * vision.mlp_ratio), vision.depth, patch)


class Qwen2VLVideoAdapter(Qwen2VLTower, Qwen25VLVideoAdapter):
    """``Qwen2VLForConditionalGeneration``, videos only; positions count time steps, not seconds."""


class Qwen2VLAdapter(Qwen2VLTower, Qwen25VLAdapter):
    """``Qwen2VLForConditionalGeneration`` on images."""

    video = Qwen2VLVideoAdapter

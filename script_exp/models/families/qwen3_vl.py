"""Qwen3-VL: native resolution, full attention in the tower, 2 x 2 patch merger, DeepStack, M-RoPE."""

from __future__ import annotations

from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen3_vl_tower import Qwen3VLTower
from script_exp.models.families.qwen3_vl_video import Qwen3VLVideoAdapter


class Qwen3VLAdapter(Qwen3VLTower, Qwen25VLAdapter):
    """``Qwen3VLForConditionalGeneration`` and ``Qwen3VLMoeForConditionalGeneration`` on images.

    A pruner sees the tokens after the patch merger. The tokens of inner tower layers, which the first decoder
    layers add, go with the rows that are kept.
    """

    video = Qwen3VLVideoAdapter

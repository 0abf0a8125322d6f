"""Qwen3.5: Qwen3-VL's tower without DeepStack; three of four decoder layers are linear attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen3_vl_tower import Qwen3Tower
from script_exp.models.families.qwen3_vl_video import TimedVideoAdapter


class Qwen35Tower(Qwen3Tower):
    """What images and videos share in Qwen3.5."""

    gates_attention = True
    template_settings: ClassVar[Mapping[str, Any]] = {"enable_thinking": False}  # short answers end within it


class Qwen35VideoAdapter(Qwen35Tower, TimedVideoAdapter):
    """``Qwen3_5ForConditionalGeneration`` and ``Qwen3_5MoeForConditionalGeneration``, videos only."""


class Qwen35Adapter(Qwen35Tower, Qwen25VLAdapter):
    """``Qwen3_5ForConditionalGeneration`` and ``Qwen3_5MoeForConditionalGeneration`` on images.

    Positions are kept as in Qwen3-VL, which is not the same as hiding the other tokens: a hidden token still
    lets the state of linear attention decay, and stands in the window of its convolution.
    """

    video = Qwen35VideoAdapter

"""The supported model families, and the adapter of a model."""

from __future__ import annotations

import difflib
from typing import Any

from script_exp.errors import UserError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.gemma3 import Gemma3Adapter
from script_exp.models.families.glm4v import Glm4vAdapter
from script_exp.models.families.internvl import InternVLAdapter
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.llava_next import LlavaNextAdapter
from script_exp.models.families.llava_next_video import LlavaNextVideoAdapter
from script_exp.models.families.llava_onevision import LlavaOnevisionAdapter
from script_exp.models.families.mistral3 import Mistral3Adapter
from script_exp.models.families.paligemma import PaliGemmaAdapter
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen2_vl import Qwen2VLAdapter
from script_exp.models.families.qwen3_5 import Qwen35Adapter
from script_exp.models.families.qwen3_vl import Qwen3VLAdapter
from script_exp.models.families.smolvlm import SmolVLMAdapter

# model_type of a checkpoint's config.json -> adapter
ADAPTERS: dict[str, type[ModelAdapter]] = {
    "llava": LlavaAdapter,
    "llava_next": LlavaNextAdapter,
    "llava_onevision": LlavaOnevisionAdapter,
    "llava_next_video": LlavaNextVideoAdapter,
    "qwen2_5_vl": Qwen25VLAdapter,
    "qwen3_vl": Qwen3VLAdapter,
    "qwen3_vl_moe": Qwen3VLAdapter,
    "qwen3_5": Qwen35Adapter,
    "qwen3_5_moe": Qwen35Adapter,
    "internvl": InternVLAdapter,
    "qwen2_vl": Qwen2VLAdapter,
    "smolvlm": SmolVLMAdapter,
    "idefics3": SmolVLMAdapter,
    "glm4v": Glm4vAdapter,
    "mistral3": Mistral3Adapter,
    "paligemma": PaliGemmaAdapter,
    "gemma3": Gemma3Adapter,
}


def not_supported(family: object) -> str:
    """Return what is wrong with an architecture that has no adapter here, and the nearest that has one."""
    near = difflib.get_close_matches(str(family), ADAPTERS, n=1)
    hint = f" (the nearest by name is {near[0]})" if near else ""
    return f"{family!r}{hint}; expected one of {', '.join(ADAPTERS)}"


def has_clip_tower(config: Any) -> bool:
    """Return whether the vision tower is CLIP's, so that CLIP's text tower can be used with it."""
    return getattr(config.vision_config, "model_type", None) == "clip_vision_model"


def adapter_of(model: Any, modality: str = "image") -> ModelAdapter:
    """Return the adapter for a model; ``modality`` chooses if the model takes images and videos.

    Raises:
        UserError: if the model's family is not supported.
        SettingError: if the adapter does not fit its config.
    """
    family = getattr(model.config, "model_type", None)
    if family not in ADAPTERS:
        raise UserError(f"model of type {not_supported(family)}")
    adapter = ADAPTERS[family].taking(modality)
    adapter.check_config(model.config)
    return adapter(model)

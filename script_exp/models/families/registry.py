"""The supported model families, and what follows from the family alone."""

from __future__ import annotations

from typing import Any

from script_exp.errors import UserError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.llava_next import LlavaNextAdapter
from script_exp.models.families.llava_next_video import LlavaNextVideoAdapter
from script_exp.models.families.llava_onevision import LlavaOnevisionAdapter
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.loading.source import Source
from script_exp.models.query_encoder import ClipQueryEncoder, EmbeddingQueryEncoder, QueryEncoder

# model_type of a checkpoint's config.json -> adapter
ADAPTERS: dict[str, type[ModelAdapter]] = {
    "llava": LlavaAdapter,
    "llava_next": LlavaNextAdapter,
    "llava_onevision": LlavaOnevisionAdapter,
    "llava_next_video": LlavaNextVideoAdapter,
    "qwen2_5_vl": Qwen25VLAdapter,
}


def has_clip_tower(config: Any) -> bool:
    """Whether the vision tower is CLIP's, so that CLIP's text tower can be put beside it."""
    return getattr(config.vision_config, "model_type", None) == "clip_vision_model"


def adapter_of(model: Any, modality: str = "image") -> ModelAdapter:
    """The adapter for a model, for videos if it takes both and ``modality`` says so.

    Raises:
        UserError: if its family is not supported.
    """
    family = getattr(model.config, "model_type", None)
    if family not in ADAPTERS:
        raise UserError(f"model of type {family!r}: expected one of {', '.join(ADAPTERS)}")
    return ADAPTERS[family].taking(modality)(model)


def query_encoder(adapter: ModelAdapter, tokenizer: Any, clip: Source | None) -> QueryEncoder:
    """CLIP's joint space where the vision tower is CLIP's, the LLM's input space elsewhere.

    Args:
        adapter: of the model.
        tokenizer: the LLM's.
        clip: the CLIP checkpoint that the tower came from; not read for other towers.

    Raises:
        UserError: if the CLIP checkpoint is missing or does not fit.
    """
    model = adapter.model
    if not has_clip_tower(model.config):
        width = model.config.text_config.hidden_size
        return EmbeddingQueryEncoder(model.get_input_embeddings(), tokenizer, width)
    if clip is None:
        raise ValueError("the vision tower is CLIP's, but there is no CLIP checkpoint")
    folder, tower = clip.with_weights(), model.config.vision_config
    return ClipQueryEncoder.from_folder(clip.setting, folder, tower, adapter.post_layernorm, model.device)

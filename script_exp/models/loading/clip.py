"""Load a model's query encoder, with the text side of the CLIP model that its vision tower comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, CLIPConfig, CLIPTextModelWithProjection

from script_exp.errors import UserError
from script_exp.models.devices import device_of
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.registry import has_clip_tower
from script_exp.models.json_object import read_object
from script_exp.models.loading.source import Source
from script_exp.models.loading.tensors import check_weights, read_tensors, tensor_shapes
from script_exp.models.query_encoder import ClipQueryEncoder, EmbeddingQueryEncoder, QueryEncoder

_TEXT_PREFIXES = ("text_model.", "text_projection.")
_VISUAL_PROJECTION = "visual_projection.weight"


def query_encoder(adapter: ModelAdapter, tokenizer: Any, clip: Source | None) -> QueryEncoder:
    """Return the query encoder: CLIP's joint space for a CLIP tower, the LLM's input space otherwise.

    Args:
        adapter: adapter of the model.
        tokenizer: the LLM's tokenizer.
        clip: the CLIP checkpoint that the tower comes from; not read for other towers.

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
    return load_clip(clip.setting, folder, tower, adapter.post_layernorm, device_of(model))


def load_clip(
    setting: str, folder: Path, tower: Any, post_layernorm: nn.Module, device: torch.device
) -> ClipQueryEncoder:
    """Load the text tower and projections of the CLIP checkpoint in ``folder``, in float32.

    Args:
        setting: the setting that named the folder, for messages.
        folder: a folder as ``CLIPModel.save_pretrained`` writes it; vision weights in it are not read.
        tower: config of the multimodal model's vision tower, which the CLIP model has to fit.
        post_layernorm: the last normalization of that tower.
        device: where the weights go.

    Raises:
        UserError: as :func:`check_clip`, or if weights of the text tower are missing.
    """
    check_clip(setting, folder, tower)
    state = read_tensors(folder, lambda name: name.startswith(_TEXT_PREFIXES) or name == _VISUAL_PROJECTION)
    projection = state.pop(_VISUAL_PROJECTION)
    text, report = CLIPTextModelWithProjection.from_pretrained(
        None,
        config=CLIPConfig.from_pretrained(folder).text_config,
        state_dict=state,
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise UserError(f"{setting}: the text tower lacks {sorted(report['missing_keys'])}")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return ClipQueryEncoder(text.eval().to(device), tokenizer, projection.float().to(device), post_layernorm)


def check_clip(setting: str, folder: Path, tower: Any) -> None:
    """Check that a CLIP checkpoint is complete and fits a vision tower in width and patches.

    Only headers are read.

    Args:
        setting: the setting that named the folder, for messages.
        folder: folder of the CLIP checkpoint.
        tower: config of the multimodal model's vision tower.

    Raises:
        UserError: for the first problem found.
    """
    check_weights(setting, folder)
    for names in (("config.json",), ("tokenizer.json", "vocab.json")):
        if not any((folder / name).is_file() for name in names):
            raise UserError(f"{setting}: no {' or '.join(names)} in {folder}; expected a complete CLIP model")
    for name in ("config.json", "tokenizer.json"):
        if (folder / name).is_file():
            read_object(folder / name)
    projection = tensor_shapes(folder).get(_VISUAL_PROJECTION)
    if projection is None:
        raise UserError(f"{setting}: no {_VISUAL_PROJECTION} in {folder}; expected a complete CLIP model")
    if projection[1] != tower.hidden_size:
        raise UserError(
            f"{setting}: its visual projection takes {projection[1]} features, but the model's vision tower "
            f"has {tower.hidden_size}; expected the CLIP model that this tower comes from"
        )
    own = CLIPConfig.from_pretrained(folder).vision_config
    patches, needed = ((one.image_size // one.patch_size) ** 2 for one in (own, tower))
    if patches != needed:
        raise UserError(
            f"{setting}: its vision tower has {patches} patches, but the model's has {needed}; "
            "expected the CLIP model that this tower comes from"
        )

"""Load a checkpoint: model, processing and query encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from script_exp.errors import SettingError
from script_exp.models.checkpoint import Checkpoint
from script_exp.models.families import has_clip_tower, query_encoder
from script_exp.models.images import ModelAdapter
from script_exp.models.original_llava import load_original, original_image_processor, original_tokenizer
from script_exp.models.processing import Processing
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder, EmbeddingQueryEncoder, QueryEncoder
from script_exp.models.random_weights import (
    random_clip_text,
    random_image_processor,
    random_model,
    random_tokenizer,
)
from script_exp.models.rules import PruningRules
from script_exp.models.transformers_report import check_report, quiet_transformers


def load_model(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    rules: PruningRules,
    conversation: str,
) -> PrunableModel:
    """Load model, processing and, where there is one, the query encoder.

    Args:
        checkpoint: from :func:`script_exp.models.checkpoint.find_checkpoint`.
        device: from :func:`resolve_device`.
        dtype: from :func:`resolve_dtype`.
        attention: attention kernel, as transformers names them.
        rules: sign of the relevance, positions and separators.
        conversation: ``chat_template`` or ``vicuna_v1``.

    Raises:
        UserError: if weights of the architecture are missing from the checkpoint or left over.
    """
    config = checkpoint.config
    with quiet_transformers():
        if checkpoint.source is None:
            model = random_model(config, device=device, dtype=dtype, attention=attention)
        elif checkpoint.layout == "original":
            folder, vision = checkpoint.source.folder, _required(checkpoint.clip).folder
            model = load_original(folder, vision, config, dtype=dtype, attention=attention).to(device)
        else:
            model = _load_huggingface(checkpoint.source.with_weights(), device, dtype, attention)
        model = model.eval()
        adapter = checkpoint.adapter(model)
        processing = _processing(checkpoint, adapter, conversation)
        encoder = _query_encoder(checkpoint, adapter, processing)
    return PrunableModel(model, processing, adapter, encoder, rules)


def _load_huggingface(folder: Path, device: torch.device, dtype: torch.dtype, attention: str) -> Any:
    model, report = transformers.AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": device},
        attn_implementation=attention,
        local_files_only=True,
        output_loading_info=True,
    )
    check_report(folder, report)
    return model


def _processing(checkpoint: Checkpoint, adapter: ModelAdapter, conversation: str) -> Processing:
    template = None
    if checkpoint.source is None:
        tokenizer = random_tokenizer(checkpoint.config)
        image_processor = random_image_processor(checkpoint.config)
    elif checkpoint.layout == "original":
        folder, vision = checkpoint.source.folder, _required(checkpoint.clip).folder
        tokenizer = original_tokenizer(folder, checkpoint.config)
        image_processor = original_image_processor(checkpoint.config, vision)
    else:
        folder = checkpoint.source.folder
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        image_processor = adapter.load_image_processor(folder)
        template = _chat_template(folder)
    placeholder = tokenizer.convert_ids_to_tokens(adapter.placeholder_id)
    if conversation == "chat_template" and not (template or tokenizer.chat_template):
        raise SettingError(
            "model.conversation", conversation, "vicuna_v1: the checkpoint has no chat template"
        )
    return Processing(tokenizer, image_processor, placeholder, template, conversation)


def _chat_template(folder: Path) -> str | None:
    """The processor's chat template, where checkpoints of any age keep it; None for the tokenizer's own."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text()
    for name in ("chat_template.json", "processor_config.json"):
        file = folder / name
        if file.is_file() and (template := json.loads(file.read_text()).get("chat_template")):
            return str(template)
    return None


def _query_encoder(
    checkpoint: Checkpoint, adapter: ModelAdapter, processing: Processing
) -> QueryEncoder | None:
    if not checkpoint.can_encode_queries:
        return None
    if checkpoint.layout != "random":
        folder = Path() if checkpoint.clip is None else checkpoint.clip.with_weights()
        return query_encoder(adapter, processing.tokenizer, folder)
    model = adapter.model
    if not has_clip_tower(model.config):
        width = model.config.text_config.hidden_size
        return EmbeddingQueryEncoder(model.get_input_embeddings(), processing.tokenizer, width)
    text, tokenizer, projection = random_clip_text(adapter.tower_width, model.device)
    return ClipQueryEncoder(text, tokenizer, projection, adapter.post_layernorm)


def _required(clip: Any) -> Any:
    if clip is None:
        raise ValueError("an original checkpoint was found without a CLIP")
    return clip


def resolve_device(device: str) -> torch.device:
    """The device that ``device`` names; ``auto`` is the GPU if there is one.

    Raises:
        SettingError: for an unknown name or a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise SettingError("device", device, "auto, cpu, cuda or cuda:0 and so on") from error
    if place.type not in ("cpu", "cuda"):
        raise SettingError("device", device, "auto, cpu, cuda or cuda:0 and so on")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            "device", device, f"a device that is there; torch sees {torch.cuda.device_count()} GPUs"
        )
    return place


def resolve_dtype(dtype: str, device: torch.device, own: torch.dtype | None) -> torch.dtype:
    """The dtype to load in; ``auto`` is float32 on a CPU, the checkpoint's ``own`` on a GPU.

    Raises:
        SettingError: for a dtype that the device lacks.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" or own is None else own
    if dtype == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingError(
            "dtype", dtype, f"float16 or float32: {torch.cuda.get_device_name(device)} has no bfloat16"
        )
    return getattr(torch, dtype)  # type: ignore[no-any-return]


def check_attention(attention: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise a :class:`SettingError` for an attention kernel that does not run here in this dtype."""
    if attention == "flash_attention_2" and device.type == "cpu":
        raise SettingError("attention", attention, "sdpa or eager on a CPU")
    if attention == "flash_attention_2" and dtype == torch.float32:
        raise SettingError("attention", attention, "sdpa or eager in float32; or dtype=bfloat16 or float16")

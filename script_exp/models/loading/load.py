"""Load a checkpoint: model, processing and, if a pruner needs the question, the query encoder."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers

from script_exp.errors import SettingError, UserError
from script_exp.models.attention_rows import softcap_of
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.registry import has_clip_tower
from script_exp.models.json_object import read_object
from script_exp.models.loading.checkpoint import Checkpoint
from script_exp.models.loading.clip import query_encoder
from script_exp.models.loading.fitting_processor import check_image_processor
from script_exp.models.loading.original_internvl import (
    LAYOUT,
    internvl_image_processor,
    internvl_tokenizer,
    load_internvl,
)
from script_exp.models.loading.original_llava import load_original
from script_exp.models.loading.original_processing import original_image_processor, original_tokenizer
from script_exp.models.loading.placement import check_placed, device_map, disk_refused, kept_whole
from script_exp.models.loading.quantization import quantization_config
from script_exp.models.loading.random_weights import (
    random_clip_text,
    random_model,
    random_tokenizer,
)
from script_exp.models.loading.transformers_report import load_checked, quiet_transformers
from script_exp.models.processing import Processing
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder, QueryEncoder
from script_exp.models.rules import PruningRules


def load_model(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    placement: str = "one_device",
    quantization: str = "off",
    with_query: bool = False,
    rules: PruningRules | None = None,
) -> PrunableModel:
    """Load model and processing.

    Args:
        checkpoint: from :func:`script_exp.models.loading.checkpoint.find_checkpoint`.
        device: from :func:`resolve_device`.
        dtype: from :func:`resolve_dtype`.
        attention: name of the attention kernel in transformers.
        placement: ``one_device``, or ``auto`` for all GPUs and what does not fit in the host's memory.
        quantization: ``off``, or ``int8`` or ``int4`` for the weights of the LLM.
        with_query: also load the query encoder; ``find_checkpoint`` needs ``needs_query=True`` for that.
        rules: the family's default rules if None.

    Returns:
        the model with its processing.

    Raises:
        UserError: if the tokenizer or the image processor is missing, or weights do not fit.
    """
    with quiet_transformers():
        processing = _processing(checkpoint)  # first, because it is quick and may fail
        model = _load_weights(checkpoint, device, dtype, attention, placement, quantization).eval()
        loaded = PrunableModel(model, processing, checkpoint.adapter(model), None, rules)
    if with_query:
        loaded.query_encoder = load_query_encoder(checkpoint, loaded)
    return loaded


def load_query_encoder(checkpoint: Checkpoint, model: PrunableModel) -> QueryEncoder:
    """Load the query encoder that belongs to a loaded model.

    Raises:
        UserError: if the CLIP checkpoint does not fit.
    """
    adapter = model.adapter
    with quiet_transformers():
        if checkpoint.layout == "random" and has_clip_tower(checkpoint.config):
            width = checkpoint.config.vision_config.hidden_size
            text, tokenizer, projection = random_clip_text(width, model.device)
            return ClipQueryEncoder(text, tokenizer, projection, adapter.post_layernorm)
        return query_encoder(adapter, model.processing.tokenizer, checkpoint.clip)


def _load_weights(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    placement: str,
    quantization: str,
) -> Any:
    if checkpoint.source is None:
        return random_model(checkpoint.config, device=device, dtype=dtype, attention=attention)
    folder = checkpoint.source.with_weights()
    if checkpoint.layout == "original":
        vision = _vision_folder(checkpoint)
        return load_original(folder, vision, checkpoint.config, dtype=dtype, attention=attention).to(device)
    own = quantization_config(quantization, checkpoint.config, checkpoint.adapter, dtype)
    how: dict[str, Any] = {} if own is None else {"quantization_config": own}
    how |= {"dtype": dtype, "device_map": device_map(placement, device), "attn_implementation": attention}
    setting, whole = checkpoint.source.setting, checkpoint.adapter.whole if placement == "auto" else ()
    with disk_refused(setting), kept_whole(checkpoint.config, whole) if whole else nullcontext():
        if checkpoint.layout == LAYOUT:
            model = load_internvl(folder, checkpoint.config, setting, **how)
        else:
            model = load_checked(transformers.AutoModelForImageTextToText, folder, setting, **how)
    if placement == "auto":
        check_placed(setting, model)
    return model


def _processing(checkpoint: Checkpoint) -> Processing:
    config, adapter, template = checkpoint.config, checkpoint.adapter, None
    if checkpoint.source is None:
        tokenizer = random_tokenizer(config, adapter)
        image_processor = adapter.random_image_processor(config)
    elif checkpoint.layout == "original":
        tokenizer = original_tokenizer(checkpoint.source.folder, config)
        image_processor = original_image_processor(config, _vision_folder(checkpoint))
    elif checkpoint.layout == LAYOUT:
        tokenizer = internvl_tokenizer(checkpoint.source.folder)
        image_processor = internvl_image_processor(checkpoint.source.folder, config)
    else:
        folder = checkpoint.source.folder
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            image_processor = adapter.load_image_processor(folder)
        except (OSError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise UserError(
                f"{checkpoint.source.setting}: no usable tokenizer or image processor ({why}); expected the "
                "files tokenizer.json and preprocessor_config.json of the checkpoint"
            ) from error
        template = _chat_template(folder)
    if checkpoint.source is not None:
        check_image_processor(checkpoint.source.setting, image_processor, adapter, config)
    return Processing.from_parts(tokenizer, image_processor, adapter, config, template)


def _vision_folder(checkpoint: Checkpoint) -> Path:
    if checkpoint.clip is None:
        raise ValueError("an original checkpoint was found without a CLIP")
    return checkpoint.clip.folder


def _chat_template(folder: Path) -> str | None:
    """Return the processor's chat template, from any file that has held it; None for the tokenizer's own."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text()
    for name in ("chat_template.json", "processor_config.json"):
        file = folder / name
        if file.is_file() and (template := read_object(file).get("chat_template")):
            return str(template)
    return None


def resolve_device(device: str) -> torch.device:
    """Return the device that ``device`` names; ``auto`` is the GPU if there is one.

    Raises:
        SettingError: for an unknown name or an unavailable device.
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
            "device", device, f"an available device; torch sees {torch.cuda.device_count()} GPUs"
        )
    return place


def resolve_dtype(dtype: str, device: torch.device, own: torch.dtype | None) -> torch.dtype:
    """Return the dtype to load in; ``auto`` is float32 on a CPU, the checkpoint's ``own`` on a GPU.

    Raises:
        SettingError: for a dtype that the device does not support.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" or own is None else own
    if dtype == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingError(
            "dtype", dtype, f"float16 or float32: {torch.cuda.get_device_name(device)} has no bfloat16"
        )
    return getattr(torch, dtype)  # type: ignore[no-any-return]


def check_kernel(attention: str, adapter: type[ModelAdapter], llm_config: Any) -> None:
    """Raise a :class:`SettingError` for an attention kernel that cannot compute what a model's LLM does."""
    if attention == "flash_attention_2" and adapter.sees_ahead:
        expected = (
            "sdpa or eager: tokens of this model's prompts see later ones, which flash attention cannot"
        )
        raise SettingError("attention", attention, expected)
    if attention == "sdpa" and softcap_of(llm_config) is not None:
        raise SettingError("attention", attention, "eager: the LLM of this model caps its attention scores")


def check_attention(attention: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise a :class:`SettingError` for an attention kernel that does not run here in this dtype."""
    if attention == "flash_attention_2" and device.type == "cpu":
        raise SettingError("attention", attention, "sdpa or eager on a CPU")
    if attention == "flash_attention_2" and dtype == torch.float32:
        raise SettingError("attention", attention, "sdpa or eager in float32; or dtype=bfloat16 or float16")

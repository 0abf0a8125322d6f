"""Load InternVL in the layout of its authors, such as OpenGVLab/InternVL3-8B (``InternVLChatModel``).

transformers reads it itself once it knows the names: here they are given, with the split of the vision
tower's fused ``qkv``. Only LLMs of Qwen2 and Qwen3 are supported; those of InternLM2 (2.5-2B, 8B and 26B,
3-9B) keep q, k and v interleaved by groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoTokenizer,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming

from script_exp.errors import UserError
from script_exp.models.families.internvl import InternVLAdapter
from script_exp.models.json_object import read_object
from script_exp.models.loading.transformers_report import load_checked

LAYOUT = "internvl"
IMAGE_TOKEN = "<IMG_CONTEXT>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE_TOKEN + "\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""That of the converted checkpoints: the authors' conversation without a system message."""
_LLMS = ("qwen2", "qwen3")
_TOWER = (
    "qk_normalization", "qkv_bias", "hidden_size", "intermediate_size", "num_hidden_layers", "norm_type",
    "num_attention_heads", "layer_norm_eps", "image_size", "patch_size", "hidden_act",
)  # fmt: skip
_RENAMED = {"qk_normalization": "use_qk_norm", "qkv_bias": "attention_bias"}
_LAYER = r"^vision_model\.encoder\.layers\.(\d+)\."
_NEW_LAYER = r"model.vision_tower.encoder.layer.\1."
_PARTS = {
    r"attn\.proj\.": "attention.projection_layer.",
    r"norm1\.": "layernorm_before.",
    r"norm2\.": "layernorm_after.",
    r"ls1$": "lambda_1",
    r"ls2$": "lambda_2",
    r"mlp\.": "mlp.",
    r"attn\.q_norm\.": "attention.q_norm.",
    r"attn\.k_norm\.": "attention.k_norm.",
    r"attn\.qkv\.": "attn.qkv.",
}
_NAMES = {
    r"^language_model\.lm_head": "lm_head",
    r"^language_model\.model\.": "model.language_model.",
    r"^mlp1\.0\.": "model.multi_modal_projector.layer_norm.",
    r"^mlp1\.1\.": "model.multi_modal_projector.linear_1.",
    r"^mlp1\.3\.": "model.multi_modal_projector.linear_2.",
    r"^vision_model\.embeddings\.class_embedding": "model.vision_tower.embeddings.cls_token",
    r"^vision_model\.embeddings\.position_embedding": "model.vision_tower.embeddings.position_embeddings",
    r"^vision_model\.embeddings\.patch_embedding\.": (
        "model.vision_tower.embeddings.patch_embeddings.projection."
    ),
    **{_LAYER + old: _NEW_LAYER + new for old, new in _PARTS.items()},
}


class InternVLChatModel(InternVLForConditionalGeneration):  # type: ignore[misc]
    """The stock class under the original's name, by which transformers finds the names of the tensors."""


register_checkpoint_conversion_mapping(
    InternVLChatModel.__name__,
    [
        *(WeightRenaming(source_patterns=old, target_patterns=new) for old, new in _NAMES.items()),
        WeightConverter(
            source_patterns=r"attn.qkv",
            target_patterns=["attention.q_proj", "attention.k_proj", "attention.v_proj"],
            operations=[Chunk(dim=0)],
        ),
    ],
    overwrite=True,
)


def is_original_internvl(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json has that layout."""
    return config.get("model_type") == "internvl_chat"


def internvl_config(folder: Path) -> InternVLConfig:
    """Return the config of the same model in transformers' layout.

    Raises:
        UserError: if a key is missing, the LLM is not supported, or the tokenizer has no token for images.
    """
    file = folder / "config.json"
    raw = read_object(file)
    try:
        text, vision, ratio = dict(raw["llm_config"]), raw["vision_config"], raw["downsample_ratio"]
        family = text.pop("model_type")
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: {error} is missing; expected the config.json of an InternVL") from error
    if family not in _LLMS:
        raise UserError(
            f"{file}: llm_config.model_type={family!r} is not supported in InternVL's own layout; expected "
            f"{' or '.join(_LLMS)}, or a checkpoint named *-hf"
        )
    if raw.get("select_layer", -1) != -1 or raw.get("ps_version", "v2") != "v2":
        raise UserError(f"{file}: expected select_layer=-1 and ps_version='v2', as of InternVL 2.5 and later")
    token = internvl_tokenizer(folder).convert_tokens_to_ids(IMAGE_TOKEN)
    if token is None:
        raise UserError(
            f"{folder}: its tokenizer has no {IMAGE_TOKEN}; expected the tokenizer of an InternVL"
        )
    return InternVLConfig(
        vision_config={_RENAMED.get(key, key): vision[key] for key in _TOWER if key in vision},
        text_config=AutoConfig.for_model(family, **text),
        image_token_id=token,
        downsample_ratio=ratio,
        tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
        dtype=raw.get("torch_dtype", "bfloat16"),
    )


def internvl_tokenizer(folder: Path) -> Any:
    """Load the tokenizer, with the conversation of the converted checkpoints."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no usable tokenizer ({str(error).splitlines()[0]})") from error
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def internvl_image_processor(folder: Path, config: InternVLConfig) -> GotOcr2ImageProcessorPil:
    """Return the image processor, with the fewest and most tiles that the config names."""
    raw, processor = read_object(folder / "config.json"), InternVLAdapter.random_image_processor(config)
    processor.min_patches = raw.get("min_dynamic_patch", 1)
    processor.max_patches = raw.get("max_dynamic_patch", 12)
    return processor


def load_internvl(folder: Path, config: InternVLConfig, setting: str, **arguments: Any) -> Any:
    """Load the model; ``arguments`` are those of ``from_pretrained``.

    Raises:
        UserError: if a tensor is missing, unexpected or of the wrong shape.
    """
    model = load_checked(InternVLChatModel, folder, setting, config=config, **arguments)
    model.__class__ = InternVLForConditionalGeneration
    return model

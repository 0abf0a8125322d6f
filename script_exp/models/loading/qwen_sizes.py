"""Full-size configs of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5, as ``architectures.py`` has them.

Widths and depths are those of the text models of the same name; they were compared with the number of
parameters in the name, and not with the hub's ``config.json``, which could not be read. Those of Qwen3.5 have
other sources, which stand beside them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import (
    PretrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
)


class LLMSize(NamedTuple):
    """Sizes of a decoder, in the order in which tables list them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


QWEN2 = {
    "0_5b": LLMSize(896, 4864, 24, 14, 2),
    "1_5b": LLMSize(1536, 8960, 28, 12, 2),
    "3b": LLMSize(2048, 11008, 36, 16, 2),
    "7b": LLMSize(3584, 18944, 28, 28, 4),
    "14b": LLMSize(5120, 13824, 48, 40, 8),
    "32b": LLMSize(5120, 27648, 64, 40, 8),
    "72b": LLMSize(8192, 29568, 80, 64, 8),
}
QWEN3 = {
    "0_6b": LLMSize(1024, 3072, 28, 16, 8),
    "1_7b": LLMSize(2048, 6144, 28, 16, 8),
    "4b": LLMSize(2560, 9728, 36, 32, 8),
    "8b": LLMSize(4096, 12288, 36, 32, 8),
    "14b": LLMSize(5120, 17408, 40, 40, 8),
    "32b": LLMSize(5120, 25600, 64, 64, 8),
    "30b_a3b": LLMSize(2048, 6144, 48, 32, 4),
    "235b_a22b": LLMSize(4096, 12288, 94, 64, 4),
}
_QWEN3_EXPERT = {"30b_a3b": 768, "235b_a22b": 1536}
_SMALL_TOWER = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
_LARGE_TOWER = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}


def qwen3_experts(size: str) -> dict[str, int]:
    """Return the sizes of a Qwen3's mixture of experts; empty if it has none."""
    if size not in _QWEN3_EXPERT:
        return {}
    width = _QWEN3_EXPERT[size]
    return {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": width}


def _qwen2_text(size: str, positions: int) -> dict[str, Any]:
    """Return Qwen2 with M-RoPE; the smallest of each family has the unpadded vocabulary."""
    return QWEN2[size]._asdict() | {
        "vocab_size": 151936 if size in ("1_5b", "3b") else 152064,
        "max_position_embeddings": positions,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }


def qwen2_vl(size: str) -> PretrainedConfig:
    """Qwen/Qwen2-VL-*-Instruct; 2B has the text of Qwen2-1.5B, and the tower is the same for all."""
    text = _qwen2_text(size, 32768)
    return Qwen2VLConfig(
        dtype="bfloat16",
        vision_config={"hidden_size": text["hidden_size"]},
        text_config=text,
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=size == "1_5b",
    )


def qwen2_5_vl(size: str) -> PretrainedConfig:
    """Qwen/Qwen2.5-VL-*-Instruct; the tower's MLP is wider from 32B on."""
    text = _qwen2_text(size, 128000) | {"rms_norm_eps": 1e-6}
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3456 if size in ("32b", "72b") else 3420,
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "tokens_per_second": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    return Qwen2_5_VLConfig(
        dtype="bfloat16",
        vision_config=vision,
        text_config=text,
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=size == "3b",
    )


def qwen3_vl(size: str) -> PretrainedConfig:
    """Qwen/Qwen3-VL-*-Instruct; 2B, with the text of Qwen3-1.7B, and 4B have the smaller tower."""
    small, experts = size in ("1_7b", "4b"), qwen3_experts(size)
    text: dict[str, Any] = (
        QWEN3[size]._asdict()
        | experts
        | {
            "vocab_size": 151936,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
        }
    )
    tower = _SMALL_TOWER if small else _LARGE_TOWER
    return (Qwen3VLMoeConfig if experts else Qwen3VLConfig)(
        dtype="bfloat16",
        vision_config=tower | {"out_hidden_size": text["hidden_size"]},
        text_config=text,
        tie_word_embeddings=small,
    )


# 9B and 35B-A3B are the defaults of transformers' classes, which name them. 27B has the sizes of
# scripts/models/qwen3.5-27B.sh in THUDM/slime; with 48 heads of values, which are not stated there, the
# number of parameters is that of the name.
_QWEN3_5: dict[str, dict[str, int]] = {
    "9b": {},
    "27b": LLMSize(5120, 17408, 64, 24, 4)._asdict() | {"linear_num_value_heads": 48},
    "35b_a3b": {},
}


def qwen3_5(size: str) -> PretrainedConfig:
    """Qwen/Qwen3.5-9B, -27B and -35B-A3B; the tower is Qwen3-VL's larger one, without DeepStack."""
    rope = {"rope_type": "default", "rope_theta": 1e7, "mrope_section": [11, 11, 10]}
    text = _QWEN3_5[size] | {
        "max_position_embeddings": 262144,
        "eos_token_id": 248044,
        "rope_parameters": rope | {"partial_rotary_factor": 0.25},
    }
    config = (Qwen3_5MoeConfig if size.endswith("a3b") else Qwen3_5Config)(dtype="bfloat16", text_config=text)
    config.vision_config.out_hidden_size = config.text_config.hidden_size
    return config

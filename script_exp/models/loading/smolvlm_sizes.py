"""Full-size configs of SmolVLM2 and Idefics3, as ``architectures.py`` has them.

Compared with the number of parameters in the name, and not with the hub's ``config.json``, which could not be
read.
"""

from __future__ import annotations

from typing import Any

from transformers import Idefics3Config, LlamaConfig, PretrainedConfig, SmolVLMConfig

from script_exp.models.loading.qwen_sizes import LLMSize

_SMOLLM2 = {
    "256m": LLMSize(576, 1536, 30, 9, 3),
    "500m": LLMSize(960, 2560, 32, 15, 5),
    "2b": LLMSize(2048, 8192, 24, 32, 32),
}
_SIGLIP_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
}
_SIGLIP_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
    "image_size": 512,
}


def smolvlm2(size: str) -> PretrainedConfig:
    """HuggingFaceTB/SmolVLM2-*: SmolLM2 135M, 360M and 1.7B, with 64, 64 and 81 tokens a tile."""
    large = size == "2b"
    text = LlamaConfig(
        vocab_size=49280,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=49279,
        pad_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 130000.0 if large else 100000.0},
        **_SMOLLM2[size]._asdict(),
    )
    return SmolVLMConfig(
        dtype="bfloat16",
        text_config=text,
        vision_config=_SIGLIP_SO400M | {"image_size": 384} if large else _SIGLIP_BASE,
        scale_factor=3 if large else 4,
        image_token_id=49190,
        tie_word_embeddings=False,
    )


def idefics3() -> PretrainedConfig:
    """HuggingFaceM4/Idefics3-8B-Llama3: Llama 3.1 8B with three new tokens, 169 tokens a tile."""
    rope: dict[str, Any] = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    text = LlamaConfig(
        vocab_size=128259,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        bos_token_id=128000,
        eos_token_id=128009,
        pad_token_id=128002,
        rope_parameters=rope,
        **LLMSize(4096, 14336, 32, 32, 8)._asdict(),
    )
    return Idefics3Config(
        dtype="bfloat16",
        text_config=text,
        vision_config=_SIGLIP_SO400M | {"image_size": 364},
        scale_factor=2,
        image_token_id=128257,
        tie_word_embeddings=False,
    )

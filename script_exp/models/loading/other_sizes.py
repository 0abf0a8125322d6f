"""Full-size configs of GLM-4.1V, Mistral Small 3.1 and PaliGemma, as ``architectures.py`` has them.

Compared with the number of parameters in the name, and not with the hub's ``config.json``, which could not be
read.
"""

from __future__ import annotations

from transformers import (
    Gemma2Config,
    GemmaConfig,
    Glm4vConfig,
    Mistral3Config,
    MistralConfig,
    PaliGemmaConfig,
    PixtralVisionConfig,
    PretrainedConfig,
    SiglipVisionConfig,
)


def glm4v() -> PretrainedConfig:
    """zai-org/GLM-4.1V-9B-Thinking: GLM-4-9B with M-RoPE on half of each head."""
    text = {
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-5,
        "eos_token_id": 151329,
        "pad_token_id": 151329,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [8, 12, 12],
        },
    }
    vision = {
        "depth": 24,
        "hidden_size": 1536,
        "intermediate_size": 13696,
        "num_heads": 12,
        "out_hidden_size": 4096,
        "image_size": 336,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return Glm4vConfig(dtype="bfloat16", text_config=text, vision_config=vision, tie_word_embeddings=False)


def mistral_small() -> PretrainedConfig:
    """mistralai/Mistral-Small-3.1-24B-Instruct-2503: Pixtral's tower for up to 1540 pixels a side."""
    text = MistralConfig(
        vocab_size=131072,
        hidden_size=5120,
        intermediate_size=32768,
        num_hidden_layers=40,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=11,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
    )
    vision = PixtralVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=1540,
        patch_size=14,
        hidden_act="gelu",
    )
    return Mistral3Config(
        dtype="bfloat16",
        text_config=text,
        vision_config=vision,
        image_token_index=10,
        vision_feature_layer=-1,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )


GEMMA2 = {
    "2b": {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8},
    "9b": {
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
    },
    "27b": {
        "hidden_size": 4608,
        "intermediate_size": 36864,
        "num_hidden_layers": 46,
        "num_attention_heads": 32,
    },
}
_GEMMA_WORDS = {"vocab_size": 257216, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}


def paligemma() -> PretrainedConfig:
    """google/paligemma-3b-mix-224: Gemma 2B."""
    return _paligemma(
        GemmaConfig(
            hidden_size=2048,
            intermediate_size=16384,
            num_hidden_layers=18,
            num_attention_heads=8,
            num_key_value_heads=1,
            head_dim=256,
            **_GEMMA_WORDS,
        )
    )


def paligemma2(size: str) -> PretrainedConfig:
    """google/paligemma2-3b-mix-224, -10b- and -28b-: Gemma 2 2B, 9B and 27B, by the names of the latter."""
    sizes = GEMMA2[size]
    largest = size == "27b"
    return _paligemma(
        Gemma2Config(
            num_key_value_heads=sizes["num_attention_heads"] // 2,
            head_dim=128 if largest else 256,
            query_pre_attn_scalar=sizes["hidden_size"] // sizes["num_attention_heads"] if largest else 256,
            sliding_window=4096,
            **sizes,
            **_GEMMA_WORDS,
        )
    )


def _paligemma(text: PretrainedConfig) -> PretrainedConfig:
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        vision_use_head=False,
    )
    return PaliGemmaConfig(
        dtype="bfloat16",
        text_config=text,
        vision_config=vision,
        image_token_index=257152,
        projection_dim=text.hidden_size,
        hidden_size=text.hidden_size,
    )

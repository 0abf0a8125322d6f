"""Full-size configs of SmolVLM2, GLM-4.1V, Mistral Small 3.1 and PaliGemma, as ``architectures.py`` has them.

Compared with the number of parameters in the name, and not with the hub's ``config.json``, which could not be
read.
"""

from __future__ import annotations

from transformers import (
    Gemma2Config,
    GemmaConfig,
    Glm4vConfig,
    LlamaConfig,
    Mistral3Config,
    MistralConfig,
    PaliGemmaConfig,
    PixtralVisionConfig,
    PretrainedConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
)


def smolvlm2() -> PretrainedConfig:
    """HuggingFaceTB/SmolVLM2-2.2B-Instruct: SmolLM2-1.7B, SigLIP so400m at 384, 81 tokens a tile."""
    text = LlamaConfig(
        vocab_size=49280,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=24,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=49279,
        pad_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 130000.0},
    )
    vision = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    }
    return SmolVLMConfig(
        dtype="bfloat16",
        text_config=text,
        vision_config=vision,
        scale_factor=3,
        image_token_id=49190,
        tie_word_embeddings=False,
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


def paligemma(version: int) -> PretrainedConfig:
    """google/paligemma-3b-mix-224 (Gemma 2B) and google/paligemma2-3b-mix-224 (Gemma 2 2B)."""
    common = {"vocab_size": 257216, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "head_dim": 256}
    text: PretrainedConfig
    if version == 1:
        text = GemmaConfig(
            hidden_size=2048,
            intermediate_size=16384,
            num_hidden_layers=18,
            num_attention_heads=8,
            num_key_value_heads=1,
            **common,
        )
    else:
        text = Gemma2Config(
            hidden_size=2304,
            intermediate_size=9216,
            num_hidden_layers=26,
            num_attention_heads=8,
            num_key_value_heads=4,
            query_pre_attn_scalar=256,
            sliding_window=4096,
            **common,
        )
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

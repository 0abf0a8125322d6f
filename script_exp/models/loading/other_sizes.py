"""Full-size configs of SmolVLM2, as ``architectures.py`` has them.

Compared with the number of parameters in the name, and not with the hub's ``config.json``, which could not be
read.
"""

from __future__ import annotations

from transformers import LlamaConfig, PretrainedConfig, SmolVLMConfig


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

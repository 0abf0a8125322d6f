"""Full-size configs of Gemma 3, as ``architectures.py`` has them.

Compared with the number of parameters in the name, and not with the hub's ``config.json``, which could not be
read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import Gemma3Config, Gemma3TextConfig, PretrainedConfig, SiglipVisionConfig


class _Size(NamedTuple):
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    query_pre_attn_scalar: int  # scores are divided by its root


_SIZES = {
    "4b": _Size(2560, 10240, 34, 8, 4, 256, 256),
    "12b": _Size(3840, 15360, 48, 16, 8, 256, 256),
    "27b": _Size(5376, 21504, 62, 32, 16, 128, 168),
}


def gemma3(size: str) -> PretrainedConfig:
    """google/gemma-3-4b-it, -12b-it and -27b-it: SigLIP so400m at 896, 256 tokens an image.

    Every sixth layer is full, with positions stretched eight times; the others have a window of 1,024.
    """
    ropes: dict[str, dict[str, Any]] = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    text = Gemma3TextConfig(
        vocab_size=262208,
        sliding_window=1024,
        max_position_embeddings=131072,
        rms_norm_eps=1e-6,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
        rope_parameters=ropes,
        **_SIZES[size]._asdict(),
    )
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=896,
        patch_size=14,
        vision_use_head=False,
    )
    return Gemma3Config(dtype="bfloat16", text_config=text, vision_config=vision, mm_tokens_per_image=256)

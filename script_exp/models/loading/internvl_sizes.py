"""Full-size configs of InternVL3 and InternVL3.5, as ``architectures.py`` has them.

Sizes are those of the text models of the same name and of InternViT; they were compared with the number of
parameters in the name, and not with the hub's ``config.json``, which could not be read.
"""

from __future__ import annotations

from typing import Any

from transformers import InternVLConfig, PretrainedConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

from script_exp.models.loading.qwen_sizes import QWEN2, QWEN3, qwen3_experts

_VIT_300M = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "attention_bias": True,
    "norm_type": "layer_norm",
}
_VIT_6B = {
    "hidden_size": 3200,
    "intermediate_size": 12800,
    "num_hidden_layers": 45,
    "num_attention_heads": 25,
    "attention_bias": False,
    "use_qk_norm": True,
    "norm_type": "rms_norm",
}


def internvl3(size: str) -> PretrainedConfig:
    """OpenGVLab/InternVL3-*-hf: Qwen2.5 with 151,674 tokens; from 38B on the larger InternViT."""
    text = Qwen2Config(
        vocab_size=151674,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        bos_token_id=151643,
        eos_token_id=151645,
        tie_word_embeddings=False,
        **QWEN2[size]._asdict(),
    )
    return _internvl(text, 151667, _VIT_6B if size in ("32b", "72b") else _VIT_300M)


def internvl3_5(size: str) -> PretrainedConfig:
    """OpenGVLab/InternVL3_5-*-HF: Qwen3 with 151,936 tokens; 38B on the larger InternViT."""
    experts = qwen3_experts(size)
    text = (Qwen3MoeConfig if experts else Qwen3Config)(
        vocab_size=151936,
        head_dim=128,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        bos_token_id=151643,
        eos_token_id=151645,
        tie_word_embeddings=False,
        **QWEN3[size]._asdict(),
        **experts,
    )
    return _internvl(text, 151671, _VIT_6B if size == "32b" else _VIT_300M)


def _internvl(text: PretrainedConfig, image: int, tower: dict[str, Any]) -> PretrainedConfig:
    return InternVLConfig(
        dtype="bfloat16",
        vision_config=tower | {"image_size": [448, 448], "patch_size": [14, 14]},
        text_config=text,
        image_token_id=image,
        image_seq_length=256,
        tie_word_embeddings=False,  # the default of the class is True
    )

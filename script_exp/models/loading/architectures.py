"""Full-size transformers configs of the published models, so that they can be built without a download.

Every size is that of the named checkpoint on the Hugging Face hub. Where the hub's ``config.json`` could not
be read, the size follows from the family's conversion script in transformers
(``src/transformers/models/<family>/convert_<family>_weights_to_hf.py``), which shows how the config was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextVideoConfig,
    LlavaOnevisionConfig,
    PretrainedConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from script_exp.models.loading.gemma_sizes import gemma3
from script_exp.models.loading.internvl_sizes import internvl3, internvl3_5
from script_exp.models.loading.other_sizes import glm4v, mistral_small, paligemma, paligemma2
from script_exp.models.loading.qwen_sizes import qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_vl
from script_exp.models.loading.smolvlm_sizes import idefics3, smolvlm2

_NEXT_RESOLUTIONS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_ONEVISION_SIDES = range(384, 2304 + 1, 384)
_VICUNA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
_VICUNA_13B = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40}


def _vicuna(sizes: dict[str, int], **changes: Any) -> LlamaConfig:
    """lmsys/vicuna-*-v1.5 after the conversion, which pads 32,000 tokens and the new ones to 32,064."""
    heads = sizes["hidden_size"] // 128
    return LlamaConfig(
        vocab_size=32064,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **sizes,
        **changes,
    )


def _clip_large_336() -> CLIPVisionConfig:
    """The vision side of openai/clip-vit-large-patch14-336."""
    return CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )


def _llava(sizes: dict[str, int]) -> LlavaConfig:
    """llava-hf/llava-1.5-7b-hf and -13b-hf."""
    return LlavaConfig(
        dtype="float16",
        vision_config=_clip_large_336(),
        text_config=_vicuna(sizes),
        image_token_index=32000,
        image_seq_length=576,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        pad_token_id=32001,
    )


def _llava_next(sizes: dict[str, int]) -> LlavaNextConfig:
    """llava-hf/llava-v1.6-vicuna-7b-hf and -13b-hf."""
    return LlavaNextConfig(
        dtype="float16",
        vision_config=_clip_large_336(),
        text_config=_vicuna(sizes),
        image_token_index=32000,
        image_seq_length=576,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=[list(size) for size in _NEXT_RESOLUTIONS],
        pad_token_id=32001,
    )


def _llava_next_video() -> LlavaNextVideoConfig:
    """llava-hf/LLaVA-NeXT-Video-7B-hf; frames are average-pooled with stride 2 to 12 x 12 tokens."""
    # The hub's config.json stretches positions 2.5 times; the conversion script does not.
    rope = {"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0}
    return LlavaNextVideoConfig(
        dtype="bfloat16",
        vision_config=_clip_large_336(),
        text_config=_vicuna(_VICUNA_7B, rope_parameters=rope),
        image_token_index=32001,
        video_token_index=32000,
        image_seq_length=576,
        video_seq_length=288,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=[list(size) for size in _NEXT_RESOLUTIONS],
        spatial_pool_mode="average",
        spatial_pool_stride=2,
    )


def _llava_onevision() -> LlavaOnevisionConfig:
    """llava-hf/llava-onevision-qwen2-7b-ov-hf: google/siglip-so400m-patch14-384, Qwen/Qwen2-7B-Instruct."""
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,  # of 27: the last one and the pooling head are left out of the checkpoint
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=152128,  # Qwen2-7B's 152,064 and two new tokens, padded to a multiple of 64
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        bos_token_id=151643,
        eos_token_id=151645,
    )
    return LlavaOnevisionConfig(
        dtype="bfloat16",
        vision_config=vision,
        text_config=text,
        image_token_index=151646,
        video_token_index=151647,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        image_grid_pinpoints=[[height, width] for height in _ONEVISION_SIDES for width in _ONEVISION_SIDES],
    )


ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "llava_1_5_7b": lambda: _llava(_VICUNA_7B),
    "llava_1_5_13b": lambda: _llava(_VICUNA_13B),
    "llava_next_7b": lambda: _llava_next(_VICUNA_7B),
    "llava_next_13b": lambda: _llava_next(_VICUNA_13B),
    "qwen2_5_vl_3b": lambda: qwen2_5_vl("3b"),
    "qwen2_5_vl_7b": lambda: qwen2_5_vl("7b"),
    "qwen2_5_vl_32b": lambda: qwen2_5_vl("32b"),
    "qwen2_5_vl_72b": lambda: qwen2_5_vl("72b"),
    "llava_onevision_7b": _llava_onevision,
    "llava_next_video_7b": _llava_next_video,
    "qwen3_vl_2b": lambda: qwen3_vl("1_7b"),
    "qwen3_vl_4b": lambda: qwen3_vl("4b"),
    "qwen3_vl_8b": lambda: qwen3_vl("8b"),
    "qwen3_vl_32b": lambda: qwen3_vl("32b"),
    "qwen3_vl_30b_a3b": lambda: qwen3_vl("30b_a3b"),
    "qwen3_vl_235b_a22b": lambda: qwen3_vl("235b_a22b"),
    "qwen3_5_9b": lambda: qwen3_5("9b"),
    "qwen3_5_27b": lambda: qwen3_5("27b"),
    "qwen3_5_35b_a3b": lambda: qwen3_5("35b_a3b"),
    "qwen2_vl_2b": lambda: qwen2_vl("1_5b"),
    "qwen2_vl_7b": lambda: qwen2_vl("7b"),
    "qwen2_vl_72b": lambda: qwen2_vl("72b"),
    "smolvlm2_256m": lambda: smolvlm2("256m"),
    "smolvlm2_500m": lambda: smolvlm2("500m"),
    "smolvlm2_2b": lambda: smolvlm2("2b"),
    "idefics3_8b": idefics3,
    "glm_4_1v_9b": glm4v,
    "mistral_small_3_1_24b": mistral_small,
    "paligemma_3b": paligemma,
    "paligemma2_3b": lambda: paligemma2("2b"),
    "paligemma2_10b": lambda: paligemma2("9b"),
    "paligemma2_28b": lambda: paligemma2("27b"),
    "gemma3_4b": lambda: gemma3("4b"),
    "gemma3_12b": lambda: gemma3("12b"),
    "gemma3_27b": lambda: gemma3("27b"),
    "internvl3_1b": lambda: internvl3("0_5b"),
    "internvl3_2b": lambda: internvl3("1_5b"),
    "internvl3_8b": lambda: internvl3("7b"),
    "internvl3_14b": lambda: internvl3("14b"),
    "internvl3_38b": lambda: internvl3("32b"),
    "internvl3_78b": lambda: internvl3("72b"),
    "internvl3_5_1b": lambda: internvl3_5("0_6b"),
    "internvl3_5_2b": lambda: internvl3_5("1_7b"),
    "internvl3_5_4b": lambda: internvl3_5("4b"),
    "internvl3_5_8b": lambda: internvl3_5("8b"),
    "internvl3_5_14b": lambda: internvl3_5("14b"),
    "internvl3_5_30b_a3b": lambda: internvl3_5("30b_a3b"),
    "internvl3_5_38b": lambda: internvl3_5("32b"),
}
"""Name of an architecture -> a fresh config of it at full size."""

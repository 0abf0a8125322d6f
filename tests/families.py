"""A tiny random model of every family, from the real config classes, and images for it."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from checkpoints import BOS, EOS, PAD, SPECIAL, WORDS, sharpen, tokenizer
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4vConfig,
    Idefics3Config,
    InternVLConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextVideoConfig,
    LlavaOnevisionConfig,
    Mistral3Config,
    MistralConfig,
    PaliGemmaConfig,
    PixtralVisionConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3MoeConfig,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
)

from script_exp.benchmarks.reading.frame_count import Frames
from script_exp.models.attention_rows import softcap_of
from script_exp.models.families.adapter import EncodedImage
from script_exp.models.families.registry import has_clip_tower
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.models.stage_outputs import PrunedPrompt
from script_exp.pruners import Pruner
from script_exp.pruners.contract.signals import Reads

QUESTIONS = ["what is it?", "how many red stars are there in the picture?", "is it?"]
VOCABULARY = 300
IMAGE, VIDEO = 290, 291
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
TOWER = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def clip(size: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(**TOWER, image_size=size, patch_size=14, projection_dim=16)


def grid(size: int, *shapes: tuple[int, int]) -> list[list[int]]:
    return [[size * rows, size * columns] for rows, columns in shapes]


def onevision(size: int) -> LlavaOnevisionConfig:
    every = ((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**TOWER, image_size=size, patch_size=14, vision_use_head=False),
        text_config=Qwen2Config(**TEXT), image_token_index=IMAGE, video_token_index=VIDEO,
        image_grid_pinpoints=grid(size, *every), vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )  # fmt: skip


NEXT_SHAPES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
CONFIGS = {
    "llava": lambda: LlavaConfig(
        vision_config=clip(168), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE
    ),
    "llava_next": lambda: LlavaNextConfig(
        vision_config=clip(168), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE,
        image_grid_pinpoints=grid(168, *NEXT_SHAPES),
    ),
    "llava_onevision": lambda: onevision(56),
    "llava_onevision_video": lambda: onevision(98),  # 7 x 7 patches, pooled to 4 x 4
    "llava_next_video": lambda: LlavaNextVideoConfig(
        vision_config=clip(112), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE,
        video_token_index=VIDEO, image_grid_pinpoints=grid(112, *NEXT_SHAPES),
    ),
    "qwen2_5_vl": lambda: Qwen2_5_VLConfig(
        vision_config={
            "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32,
            "fullatt_block_indexes": [1, 3], "window_size": 56, "patch_size": 14,
        },
        text_config=TEXT | {
            "max_window_layers": 4,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        },
        image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=292, vision_end_token_id=293,
    ),
}  # fmt: skip
CONFIGS["qwen2_5_vl_video"] = CONFIGS["qwen2_5_vl"]
MARKS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 292,
    "vision_end_token_id": 293,
}  # fmt: skip
QWEN3 = {
    "vision_config": {
        "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32,
        "patch_size": 14, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    },
    "text_config": TEXT | {
        "head_dim": 8,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
    },
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SHARED = {"shared_expert_intermediate_size": 20}
CONFIGS["qwen3_vl"] = CONFIGS["qwen3_vl_video"] = lambda: Qwen3VLConfig(**copy.deepcopy(QWEN3), **MARKS)
QWEN35 = {
    "vision_config": {name: size for name, size in QWEN3["vision_config"].items() if "deep" not in name},
    "text_config": TEXT | {
        "layer_types": ["linear_attention", "full_attention", "full_attention", "linear_attention"],
        "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 12,
        "rope_parameters": {
            "rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    },
}  # fmt: skip
"""A stage at layer 2 can read the layer before it and its own; at 1 its own alone, at 3 the one before."""
CONFIGS["qwen3_5"] = lambda: Qwen3_5Config(**copy.deepcopy(QWEN35), **MARKS)
SMOL = {
    "vision_config": TOWER | {"image_size": 112, "patch_size": 14}, "text_config": LlamaConfig(**TEXT),
    "image_token_id": IMAGE, "scale_factor": 2,
}  # fmt: skip
VARIANTS = {
    "qwen2_vl_video": lambda: CONFIGS["qwen2_vl"](),
    "glm4v_video": lambda: CONFIGS["glm4v"](),
    "qwen3_vl_moe": lambda: Qwen3VLMoeConfig(
        **copy.deepcopy(QWEN3 | {"text_config": QWEN3["text_config"] | EXPERTS}), **MARKS
    ),
    "qwen3_5_moe_video": lambda: Qwen3_5MoeConfig(
        **copy.deepcopy(QWEN35 | {"text_config": QWEN35["text_config"] | EXPERTS | SHARED}), **MARKS
    ),
}
"""Families with the adapter of another one, and another LLM, window or modality."""
CONFIGS["qwen2_vl"] = lambda: Qwen2VLConfig(
    vision_config={
        "depth": 3, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 4, "patch_size": 14,
    },
    text_config=TEXT | {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    },
    **MARKS,
)  # fmt: skip
CONFIGS["internvl"] = lambda: InternVLConfig(
    vision_config=TOWER | {"image_size": [112, 112], "patch_size": [14, 14]},
    text_config=Qwen2Config(**TEXT), image_token_id=IMAGE, image_seq_length=16, tie_word_embeddings=False,
)  # fmt: skip
VARIANTS["internvl_moe"] = lambda: InternVLConfig(
    vision_config=TOWER | {"image_size": [112, 112], "patch_size": [14, 14]},
    text_config=Qwen3MoeConfig(**TEXT, **EXPERTS, head_dim=8), image_token_id=IMAGE, image_seq_length=16,
    tie_word_embeddings=False,
)  # fmt: skip
CONFIGS["smolvlm"] = lambda: SmolVLMConfig(**SMOL)
VARIANTS["idefics3"] = lambda: Idefics3Config(**SMOL)
CONFIGS["glm4v"] = lambda: Glm4vConfig(
    vision_config={
        "depth": 3, "hidden_size": 24, "num_heads": 3, "out_hidden_size": 32, "intermediate_size": 40,
        "image_size": 56, "patch_size": 14,
    },
    text_config=TEXT | {  # six of a head's eight places turn, in pairs of neighbors
        "rope_parameters": {
            "rope_type": "default", "mrope_section": [1, 1, 1], "rope_theta": 100.0,
            "partial_rotary_factor": 0.75,
        },
    },
    image_token_id=IMAGE, video_token_id=VIDEO,
)  # fmt: skip
CONFIGS["mistral3"] = lambda: Mistral3Config(
    vision_config=PixtralVisionConfig(**TOWER, image_size=280, patch_size=14),
    text_config=MistralConfig(**TEXT, sliding_window=None), image_token_index=IMAGE,
    tie_word_embeddings=False,
)  # fmt: skip
PALI = {"image_token_index": IMAGE, "projection_dim": 32, "tie_word_embeddings": False}
CONFIGS["paligemma"] = lambda: PaliGemmaConfig(
    vision_config=SiglipVisionConfig(**TOWER, image_size=112, patch_size=14, vision_use_head=False),
    text_config=GemmaConfig(**TEXT, head_dim=8), **PALI,
)  # fmt: skip
VARIANTS["paligemma2"] = lambda: PaliGemmaConfig(
    vision_config=SiglipVisionConfig(**TOWER, image_size=112, patch_size=14, vision_use_head=False),
    text_config=Gemma2Config(
        **TEXT, head_dim=8, query_pre_attn_scalar=8, sliding_window=24, attn_logit_softcapping=2.0
    ),
    **PALI,
)  # fmt: skip


def gemma3(window: int) -> Gemma3Config:
    """Every second layer has a window and its own rope. In wide windows, hiding equals dropping tokens."""
    ropes = {
        kind: {"rope_type": "default", "rope_theta": theta}
        for kind, theta in (("full_attention", 1e5), ("sliding_attention", 10.0))
    }
    return Gemma3Config(
        vision_config=SiglipVisionConfig(**TOWER, image_size=112, patch_size=14, vision_use_head=False),
        text_config=Gemma3TextConfig(
            **TEXT, head_dim=8, query_pre_attn_scalar=8, sliding_window=window, rope_parameters=ropes,
            layer_types=["sliding_attention", "full_attention"] * (TEXT["num_hidden_layers"] // 2),
        ),
        image_token_index=IMAGE, boi_token_index=294, eoi_token_index=295, mm_tokens_per_image=16,
        tie_word_embeddings=False,
    )  # fmt: skip


CONFIGS["gemma3"] = lambda: gemma3(4096)
VARIANTS["gemma3_window"] = lambda: gemma3(4)  # shorter than what is kept of an image
EVERY = CONFIGS | VARIANTS
NATIVE = ("qwen", "glm", "mistral")
"""Beginnings of the families that take pictures of any size, in patches of 14 pixels, 2 x 2 to a token."""


def modality(family: str) -> str:
    return "video" if family.endswith("_video") else "image"


def build(
    family: str, folder: Path, dtype: torch.dtype = torch.float32, attention: str | None = None, **rules: str
) -> PrunableModel:
    """A random model of a family, with weights large enough that attention is not uniform.

    Its attention is sdpa's, or eager where scores are capped, which sdpa does not do.
    """
    EVERY[family]().save_pretrained(folder)
    checkpoint = find_checkpoint(Wanted(str(folder), weights="random"), needs_query=True).taking(
        modality(family)
    )
    capped = softcap_of(checkpoint.config.get_text_config()) is not None
    model = load_model(
        checkpoint,
        device=torch.device("cpu"),
        dtype=dtype,
        attention=attention or ("eager" if capped else "sdpa"),
        with_query=not has_clip_tower(checkpoint.config),
        rules=replace(checkpoint.adapter.default_rules, **rules),
    )
    if model.query_encoder is None:
        model.query_encoder = small_clip(model)
    sharpen(model.model)
    model.model.generation_config.eos_token_id = None  # a random model must not stop by chance
    model.model.generation_config.pad_token_id = 0
    return model


def with_plain_experts(model: PrunableModel) -> PrunableModel:
    """The same model, with experts, if it has any, whose products torch's counter and a made device see."""
    if hasattr(model.model.config.get_text_config(), "num_experts"):
        model.model.set_experts_implementation("eager")
    return model


def small_clip(model: PrunableModel) -> ClipQueryEncoder:
    """The text side of CLIP, random; one of the released size takes longer than all the rest of a test."""
    torch.manual_seed(0)
    text = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(SPECIAL + WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=77, projection_dim=16, bos_token_id=BOS,
            eos_token_id=EOS, pad_token_id=PAD,
        )
    )  # fmt: skip
    projection = torch.randn(16, TOWER["hidden_size"]) / 5
    return ClipQueryEncoder(text.eval(), tokenizer("<s> $A </s>"), projection, model.adapter.post_layernorm)


def save(family: str, folder: Path) -> Path:
    """The same on disk, as a user would have it; without CLIP's text tower."""
    model = build(family, folder)
    model.model.save_pretrained(folder)
    model.processing.tokenizer.save_pretrained(folder)
    model.processing.image_processor.save_pretrained(folder)
    return folder


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng([seed, height, width]).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def visuals(family: str) -> list[list[object]]:
    """Rows with one image of unequal shapes; videos have equally many frames."""
    if family.endswith("_video"):
        videos = [[picture(120, 150, seed) for seed in range(row, row + 3)] for row in (0, 10, 20)]
        return [[Frames(videos[0], rate=0.7)], [Frames(videos[1], rate=3.0)], [videos[2]]]
    if family in ("smolvlm", "idefics3"):  # scaled up to four tiles
        return [[picture(80, 320)], [picture(320, 80)], [picture(100, 300)]]
    if family == "llava_onevision":
        return [[picture(60, 60)], [picture(40, 110)], [picture(300, 260)]]  # the last one is scaled down
    if family.startswith(NATIVE):
        return [[picture(84, 112)], [picture(56, 140)], [picture(112, 84)]]
    return [[picture(300, 320)], [picture(200, 500)], [picture(640, 480)]]


def stock(model: PrunableModel, inputs: dict) -> dict:
    """What the unmodified model takes: without what only the framework passes, with what it asks for."""
    known = inspect.signature(model.model.forward).parameters
    taken = {name: values for name, values in inputs.items() if name in known}
    if "mm_token_type_ids" in known:
        kind = {"image": 1, "video": 2}[model.adapter.modality]
        taken["mm_token_type_ids"] = kind * (inputs["input_ids"] == model.adapter.placeholder_id).int()
    if "token_type_ids" in known:
        marked = (
            inputs["input_ids"] == model.adapter.placeholder_id
        ).long()  # as the stock processors have them
        taken["token_type_ids"] = marked if "gemma3" in model.model.config.model_type else 0 * marked
    if "second_per_grid_ts" in taken:
        taken["second_per_grid_ts"] = inputs["second_per_grid_ts"].tolist()  # as the stock processor has them
    return taken


def pruned_rows(model: PrunableModel, rows: list, pruner: Pruner) -> tuple[PrunedPrompt, list[EncodedImage]]:
    """The prompt of some rows (images, number), whose names and questions go by number, and its images."""
    return pruned_images(model, encoded_rows(model, rows, pruner.reads), pruner)


def pruned_images(
    model: PrunableModel, encoded: tuple, pruner: Pruner
) -> tuple[PrunedPrompt, list[EncodedImage]]:
    """The same of rows that are encoded already."""
    inputs, images, queries, keys = encoded
    return model.prune(inputs, images, pruner, queries, keys=keys), images


def encoded_rows(model: PrunableModel, rows: list, reads: Reads) -> tuple:
    """Inputs, images and queries of such rows, for any method that reads this, and their names."""
    questions = [QUESTIONS[row] for _, row in rows]
    inputs = model.preprocess([own for own, _ in rows], [model.chat_prompt(text) for text in questions])
    images = model.encode_images(inputs, reads)
    queries = model.encode_queries(questions, reads) if reads.question else None
    return inputs, images, queries, [str(row) for _, row in rows]

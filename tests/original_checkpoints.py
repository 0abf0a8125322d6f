"""Small random checkpoints in the layout of LLaVA's authors, with the same model in transformers' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

CROP, PATCH, WIDTH, VOCABULARY, IMAGE = 16, 4, 32, 64, 4
PINPOINTS = [[CROP, 2 * CROP], [2 * CROP, CROP], [2 * CROP, 2 * CROP], [3 * CROP, CROP], [CROP, 3 * CROP]]
CONFIG = {
    "_name_or_path": "llava-v1.5-7b", "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1,
    "eos_token_id": 2, "freeze_mm_mlp_adapter": False, "hidden_act": "silu", "hidden_size": 40,
    "image_aspect_ratio": "pad", "initializer_range": 0.02, "intermediate_size": 56, "max_length": 4096,
    "max_position_embeddings": 4096, "mm_hidden_size": WIDTH, "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None, "mm_use_im_patch_token": False, "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
    "mm_vision_tower": f"openai/clip-vit-tiny-patch{PATCH}-{CROP}", "model_type": "llava",
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "pad_token_id": 0,
    "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None, "tie_word_embeddings": False,
    "torch_dtype": "float16", "transformers_version": "4.31.0", "tune_mm_mlp_adapter": False,
    "unfreeze_mm_vision_tower": False, "use_cache": True, "use_mm_proj": True, "vocab_size": VOCABULARY,
}  # fmt: skip
ANYRES = {
    "image_aspect_ratio": "anyres", "image_grid_pinpoints": PINPOINTS, "mm_patch_merge_type": "spatial_unpad",
    "rope_theta": 10000.0, "unfreeze_mm_vision_tower": True,
}  # fmt: skip


def save_original(folder: Path, *, suffix: str, anyres: bool, whole_clip: bool = True) -> Any:
    """The model whose weights are in ``folder/original`` and ``folder/clip``; v1.6 has the tower in both.

    Its image token is ``IMAGE``; in the original it is the first after the vocabulary.
    """
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=CROP,
        patch_size=PATCH, projection_dim=24,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=40, intermediate_size=56, num_hidden_layers=2, pad_token_id=0,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-5,
    )  # fmt: skip
    shared = {"vision_config": vision, "text_config": text, "image_token_index": IMAGE}
    if anyres:
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(**shared, image_grid_pinpoints=PINPOINTS))
    else:
        config = LlavaConfig(**shared, image_seq_length=(CROP // PATCH) ** 2)
        model = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # attention and normalization that are not nearly trivial, values that fit float16
        for parameter in model.parameters():
            parameter.copy_((parameter * 3 + 0.1 * torch.rand_like(parameter)).half())
    original = folder / "original"
    original.mkdir(parents=True)
    (original / "config.json").write_text(json.dumps(CONFIG | (ANYRES if anyres else {})))
    tensors = {_original_name(name): t.half() for name, t in model.state_dict().items()}
    tower = "model.vision_tower."
    save_shards(original, {n: t for n, t in tensors.items() if anyres or not n.startswith(tower)}, suffix)
    save_clip(folder / "clip", model.model.vision_tower, whole=whole_clip)
    return model.eval()


def _original_name(name: str) -> str:
    for new, old in (
        ("model.language_model.", "model."),
        ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
    ):
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def save_shards(folder: Path, tensors: dict[str, Tensor], suffix: str) -> None:
    """Two shards and their index, with a buffer that old releases of transformers saved."""
    if suffix == "bin":
        tensors = tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(5)}
    base = "pytorch_model" if suffix == "bin" else "model"
    names = sorted(tensors)
    where = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = folder / f"{base}-{number:05d}-of-00002.{suffix}"
        save({name: tensors[name] for name in part}, file)
        where |= dict.fromkeys(part, file.name)
    (folder / f"{base}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def save(tensors: dict[str, Tensor], file: Path) -> None:
    """One weight file of the kind that its suffix says."""
    if file.suffix == ".bin":
        torch.save(tensors, file)
    else:
        save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata={"format": "pt"})


def load_bin(file: Path) -> dict[str, Tensor]:
    return torch.load(file, weights_only=True)


def save_clip(folder: Path, tower: Any, *, whole: bool) -> None:
    """CLIP as OpenAI has it, a single .bin with all towers in float32; or the vision tower alone."""
    if whole:
        config = CLIPConfig(
            text_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                         "num_attention_heads": 2, "vocab_size": 32, "projection_dim": 24},
            vision_config=tower.config.to_dict(),
            projection_dim=24,
        )  # fmt: skip
        clip = CLIPModel(config)
        clip.vision_model.load_state_dict(tower.state_dict())
        config.save_pretrained(folder)
        buffer = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        save(clip.state_dict() | buffer, folder / "pytorch_model.bin")
    else:
        tower.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": CROP}, crop_size={"height": CROP, "width": CROP}
    ).save_pretrained(folder)


def save_tokenizer(folder: Path) -> None:
    """A tokenizer.json of ``VOCABULARY`` pieces: special ones, a newline, "▁", letters and two merges."""
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", *"abcdefghijklmnopqrstuvwxyz", "ab", "▁a"]
    pieces += [f"<{number}>" for number in range(VOCABULARY - len(pieces))]
    LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[("▁", "a"), ("a", "b")]
    ).save_pretrained(folder)

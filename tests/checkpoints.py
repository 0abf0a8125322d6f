"""Small random checkpoints of the real classes, on disk as a user has them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = [
    "user", "assistant", ":", "?", ".", "what", "color", "shape", "is", "the", "a", "how", "many",
    "red", "blue", "star", "ring", "left", "of", "yes", "no", "zero", "one", "two",
]  # fmt: skip
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
PAD, UNK, BOS, EOS, IMAGE = range(5)
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def tokenizer(template: str = "<s> $A") -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="left",
    )


def sharpen(model: PreTrainedModel) -> PreTrainedModel:
    """Larger weights: the default initialization gives nearly uniform attention."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "position" not in name:
                parameter.mul_(4.0)
    return model.eval()


def save_llava(
    folder: Path, *, grid: int = 24, layers: int = 4, kv_heads: int = 2, seed: int = 0, width: int = 40
) -> Path:
    """A random LLaVA with ``grid`` x ``grid`` patches and its CLIP text side in ``folder/clip``."""
    torch.manual_seed(seed)
    size, patch, tower, joint = grid * 4, 4, 32, 24
    vision = CLIPVisionConfig(
        hidden_size=tower, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=size,
        patch_size=patch, projection_dim=joint,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(SPECIAL + WORDS), hidden_size=width, intermediate_size=width * 7 // 5,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=kv_heads,
        max_position_embeddings=1024, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
        tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=grid**2
    )
    model = sharpen(LlavaForConditionalGeneration(config))
    model.generation_config.eos_token_id = None  # a random model must not stop by chance
    model.save_pretrained(folder)
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )
    processor = LlavaProcessor(
        image_processor, tokenizer(), patch_size=patch, vision_feature_select_strategy="default",
        chat_template=TEMPLATE, num_additional_image_tokens=1,
    )  # fmt: skip
    processor.save_pretrained(folder)
    save_clip(folder / "clip", width=tower, joint=joint, grid=grid)
    return folder


def save_clip(folder: Path, *, width: int, joint: int, grid: int = 24) -> Path:
    """The text side and the projections of a random CLIP whose vision tower is ``width`` wide."""
    config = CLIPConfig(
        text_config={
            "vocab_size": len(SPECIAL + WORDS), "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 77, "bos_token_id":
            BOS, "eos_token_id": EOS, "pad_token_id": PAD, "projection_dim": joint,
        },
        vision_config={
            "hidden_size": width, "num_attention_heads": 4, "num_hidden_layers": 1, "projection_dim": joint,
            "image_size": 4 * grid, "patch_size": 4,
        },
        projection_dim=joint,
    )  # fmt: skip
    state = CLIPModel(config).state_dict()
    wanted = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.contiguous() for k, v in state.items() if k.startswith(wanted)}, folder / "model.safetensors"
    )
    config.save_pretrained(folder)
    tokenizer("<s> $A </s>").save_pretrained(folder)
    return folder


def set_config(folder: Path, **changes: object) -> None:
    """Change keys of a checkpoint's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

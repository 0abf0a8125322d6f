"""Take a trained model as the start of another training, with words that it did not know."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPConfig, CLIPModel, LlavaForConditionalGeneration

from script_exp.training.architecture import Sizes
from script_exp.training.train_vision import VisionStage


def load_start(folder: Path, words: int) -> tuple[VisionStage, LlavaForConditionalGeneration]:
    """Load a checkpoint written by :func:`~script_exp.training.export.save_checkpoint`.

    Its first words keep their embeddings, the others are drawn from PyTorch's generator.

    Args:
        folder: the checkpoint, of the default sizes.
        words: number of words that the models know afterwards.
    """
    llava = LlavaForConditionalGeneration.from_pretrained(folder)
    clip = CLIPModel(CLIPConfig.from_pretrained(folder / "clip"))
    clip.load_state_dict(load_file(folder / "clip" / "model.safetensors"), strict=False)
    clip.vision_model.load_state_dict(llava.model.vision_tower.state_dict())
    llava.resize_token_embeddings(words, mean_resizing=False)
    embeddings = clip.text_model.embeddings
    old = embeddings.token_embedding.weight.detach()
    more = torch.randn(words - len(old), old.shape[1]) * old.std()
    embeddings.token_embedding = nn.Embedding(words, old.shape[1])
    embeddings.token_embedding.weight.data = torch.cat([old, more])
    clip.config.text_config.vocab_size = words
    for model in (llava, clip):
        model.set_attn_implementation("eager")
    stage = VisionStage(Sizes())
    stage.clip = clip
    return stage, llava

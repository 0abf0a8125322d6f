"""Run the CLIP vision tower on windows: the modules of the full forward pass, at the window's place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel

from script_exp.shapes.scenes import GRID, Window
from script_exp.training.export import PIXEL_MEAN, PIXEL_STD
from script_exp.training.vocabulary import BEGIN, END, PAD, encode


def to_pixels(images: np.ndarray) -> Tensor:
    """Map (batch, height, width, 3) uint8 to (batch, 3, height, width), normalized as by the processor."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - PIXEL_MEAN) / PIXEL_STD


def position_ids(windows: Sequence[Window]) -> Tensor:
    """Return position embedding rows (batch, 1 + patches): CLS, then each patch's place in the full grid."""
    grid = torch.arange(GRID * GRID).view(GRID, GRID) + 1
    places = [grid[w.top : w.top + w.side, w.left : w.left + w.side].reshape(-1) for w in windows]
    return F.pad(torch.stack(places), (1, 0))


def hidden_states(clip: CLIPModel, pixels: Tensor, windows: Sequence[Window]) -> Tensor:
    """Return the layer that LLaVA reads, hidden_states[-2]: (batch, 1 + patches, width)."""
    tower = clip.vision_model
    embeddings = tower.embeddings
    patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    cls = embeddings.class_embedding.expand(len(pixels), 1, -1)
    placed = torch.cat([cls, patches], 1) + embeddings.position_embedding(position_ids(windows))
    states: Tensor = tower.pre_layrnorm(placed)
    for layer in tower.encoder.layers[:-1]:
        states = layer(states, attention_mask=None)
    return states


def patch_embeddings(clip: CLIPModel, states: Tensor) -> Tensor:
    """Project hidden_states[-2] without CLS to unit vectors in CLIP's space, (batch, patches, projection)."""
    return F.normalize(clip.visual_projection(clip.vision_model.post_layernorm(states)).float(), dim=-1)


def image_embedding(clip: CLIPModel, states: Tensor) -> Tensor:
    """Return the CLS token after the last layer as unit vectors (batch, projection)."""
    last = clip.vision_model.encoder.layers[-1](states, attention_mask=None)[:, 0]
    return F.normalize(clip.visual_projection(clip.vision_model.post_layernorm(last)).float(), dim=-1)


def text_embeddings(clip: CLIPModel, texts: Sequence[str]) -> Tensor:
    """Embed texts as unit vectors (texts, projection)."""
    known = clip.text_model.embeddings.token_embedding.num_embeddings
    rows = [[BEGIN, *encode(text, known), END] for text in texts]
    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words)] = torch.tensor(words)
    pooled = clip.text_model(input_ids=ids, attention_mask=(ids != PAD).long()).pooler_output
    return F.normalize(clip.text_projection(pooled).float(), dim=-1)

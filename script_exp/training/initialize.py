"""Initialization of the projector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration


def whiten_projector(llava: LlavaForConditionalGeneration, features: Tensor) -> None:
    """Initialize the projector's first layer with a shrunk whitening of the features (patches, width).

    A few directions of the tower's features are orders of magnitude larger than the rest. Without whitening,
    training spends most of its steps on finding the small ones.
    """
    mean = features.mean(0)
    centered = features - mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(features))
    whitening = vectors @ torch.diag((values + 0.01 * values.mean()).rsqrt()) @ vectors.T
    projector = llava.model.multi_modal_projector
    with torch.no_grad():
        weight = torch.randn_like(projector.linear_1.weight) / len(mean) ** 0.5 @ whitening
        projector.linear_1.weight.copy_(weight)
        projector.linear_1.bias.copy_(-weight @ mean)
        nn.init.normal_(projector.linear_2.weight, std=0.1)

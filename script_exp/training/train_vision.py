"""Stage 1: train the tiny CLIP from image-level supervision only.

There are three losses. Naming: which of many phrases and questions name something in the image (noisy-or
over patches, so the label says that something is there, never where). Caption: CLS against the caption
(InfoNCE). Position: a self-supervised read-out of every patch's own row and column; without it
hidden_states[-2] loses position, and spatial questions cannot be learned. Without the questions in the naming
loss, and with half the steps, the language model learned nothing from the frozen tower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from script_exp.shapes.scenes import GRID
from script_exp.training.architecture import Sizes, build_clip
from script_exp.training.naming import phrase
from script_exp.training.optimization import Progress, Run, decay_groups
from script_exp.training.precision import mixed_precision
from script_exp.training.vision_features import (
    hidden_states,
    image_embedding,
    patch_embeddings,
    position_ids,
    text_embeddings,
    to_pixels,
)
from script_exp.training.windows import Pool, ask_many, caption

PHRASES_PER_STEP, QUESTIONS_PER_STEP = 64, 40
POSITION_WEIGHT, CAPTION_WEIGHT, CAPTION_EVERY = 0.5, 0.5, 3
PEAK_RATE = 1.2e-3
PHASES = ((0.2, (1.0, 0.0, 0.0)), (0.8, (0.3, 0.55, 0.15)), (1.0, (0.1, 0.4, 0.5)))
"""Until this share of all steps, draw pool i with this probability."""
BATCHES = (96, 32, 8)
"""Windows per step from the small, middle and full pool: about the same number of patches."""


class VisionStage(nn.Module):
    """CLIP with the few parameters that only training needs."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.clip: CLIPModel = build_clip(sizes)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-6.0))
        generator = torch.Generator().manual_seed(1)
        reader = torch.linalg.qr(torch.randn(sizes.vision_width, 2, generator=generator))[0] / 2
        self.reader: Tensor
        self.register_buffer("reader", reader)

    def naming_loss(self, patches: Tensor, texts: list[str], labels: Tensor) -> Tensor:
        """Return the negative log-likelihood of labels (batch, texts) per positive; noisy-or over patches."""
        cosines = patches @ text_embeddings(self.clip, texts).T
        absent = F.softplus(self.scale * cosines + self.bias).sum(1).clamp(min=1e-6)
        present = -torch.log(-torch.expm1(-absent))
        return torch.where(labels, present, absent).sum() / labels.sum().clamp(min=1)

    def position_loss(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the mean squared error of a fixed linear read-out of standardized rows and columns."""
        places = torch.stack([(ids - 1) // GRID, (ids - 1) % GRID], -1).float()
        return F.mse_loss(states.float() @ self.reader, (places - (GRID - 1) / 2) / (GRID / math.sqrt(12)))

    def caption_loss(self, states: Tensor, captions: list[str]) -> Tensor:
        """Return the symmetric InfoNCE of CLS against its caption within the batch."""
        images = image_embedding(self.clip, states)
        logits = images @ text_embeddings(self.clip, captions).T * self.clip.logit_scale.exp().clamp(max=50)
        own = torch.arange(len(captions))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def naming_targets(pool: Pool, chosen: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Return the texts of one step and labels (batch, texts): whether an image shows what a text names."""
    naming = pool.naming
    everything = naming.phrases()
    texts = dict(everything[index] for index in rng.permutation(len(everything))[:PHRASES_PER_STEP])
    texts |= {phrase(pattern): [naming.ids[pattern]] for pattern in naming.always}
    for index in chosen[:QUESTIONS_PER_STEP]:
        for question in ask_many(
            pool.scenes[index], [str(rng.choice(naming.asked))], rng, world=naming.world
        ):
            texts[question.text] = naming.named(question.text)
    members = np.zeros((len(texts), len(naming.patterns)), np.float32)
    for row, ids in zip(members, texts.values(), strict=True):
        row[ids] = 1
    labels = pool.shown[chosen].astype(np.float32) @ members.T > 0
    return list(texts), torch.from_numpy(labels)


def _losses(stage: VisionStage, pools: tuple[Pool, ...], run: Run) -> dict[str, Tensor]:
    size = run.draw(PHASES)
    pool = pools[size]
    chosen = run.rng.integers(0, len(pool.scenes), BATCHES[size])
    windows = [pool.scenes[index].window for index in chosen]
    with mixed_precision():
        states = hidden_states(stage.clip, to_pixels(pool.images[chosen]), windows)
        patches = patch_embeddings(stage.clip, states[:, 1:])
    texts, labels = naming_targets(pool, chosen, run.rng)
    losses = {"naming": stage.naming_loss(patches, texts, labels)}
    losses["position"] = POSITION_WEIGHT * stage.position_loss(states[:, 1:], position_ids(windows)[:, 1:])
    if run.step % CAPTION_EVERY == 0:
        captions = [caption(pool.scenes[index], run.rng) for index in chosen]
        with mixed_precision():
            losses["caption"] = CAPTION_WEIGHT * stage.caption_loss(states, captions)
    return losses


def train_vision(
    stage: VisionStage,
    pools: tuple[Pool, Pool, Pool],
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    monitor: Callable[[CLIPModel], dict[str, float]],
    peak_rate: float = PEAK_RATE,
) -> VisionStage:
    """Train the CLIP of ``stage`` for ``steps`` steps, continuing from ``checkpoint`` if it exists."""
    optimizer = torch.optim.AdamW(decay_groups(stage, 0.03), lr=peak_rate, betas=(0.9, 0.98), foreach=True)
    run = Run(stage, optimizer, steps, peak_rate, seed, checkpoint)
    run.train("vision", lambda: _losses(stage, pools, run), progress, lambda: monitor(stage.clip))
    stage.clip.eval()
    return stage

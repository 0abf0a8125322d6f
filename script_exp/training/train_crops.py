"""The last stage of a model with crops: projector, newline token and language model, on the frozen tower.

A step shows pictures with a part of their patches, drawn uniformly over all views, with or without newline
tokens; some show every patch. Others show the base view alone, so that the model is fit to be measured
without its crops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel, LlavaNextForConditionalGeneration

from script_exp.shapes.next_scenes import NEXT_WORLD, PICTURE_DENSITIES
from script_exp.shapes.scenes import FULL, GRID, Scene
from script_exp.training.diet import BENCHMARK, Diet, positions
from script_exp.training.next_model import packing, views
from script_exp.training.optimization import Progress, Run, decay_groups
from script_exp.training.packing import language_loss
from script_exp.training.precision import mixed_precision
from script_exp.training.vision_features import hidden_states
from script_exp.training.windows import ask_many

PEAK_RATE = 1e-3
NEWLINES = 0.5
"""Share of the steps with newline tokens."""
EVERY_VIEW, BASE_VIEW = 0, 1
DIETS = (
    Diet(EVERY_VIEW, 8, 10, (0.04, 0.12)),
    Diet(EVERY_VIEW, 4, 12, (0.12, 0.35)),
    Diet(EVERY_VIEW, 2, 16, (0.35, 0.7)),
    Diet(EVERY_VIEW, 1, 28),
    Diet(BASE_VIEW, 4, 12),
)
"""Pictures and questions of a step, and the share of patches; the pool says which views."""
PHASES = ((0.4, (0.4, 0.4, 0.05, 0.05, 0.1)), (1.0, (0.3, 0.35, 0.15, 0.1, 0.1)))
"""Until this share of all steps, draw diet i with this probability."""
_NO_MASK = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Picture:
    """A rendered picture as the frozen tower sees it.

    Attributes:
        features: (views * 576, width) bf16.
        source: as returned by :func:`~script_exp.training.next_model.packing`.
        scene: what is in it, without pixels and coverage masks.
    """

    features: Tensor
    source: Tensor
    scene: Scene


@torch.inference_mode()
def render_pictures(
    llava: LlavaNextForConditionalGeneration, clip: CLIPModel, seed: int, pictures: int
) -> list[list[Picture]]:
    """Render pictures and return them by size; 1,200 take about six minutes on one core."""
    rng = np.random.default_rng([seed, 5])
    by_size: dict[tuple[int, ...], list[Picture]] = defaultdict(list)
    for number in range(pictures):
        low, high = PICTURE_DENSITIES[number % len(PICTURE_DENSITIES)]
        scene = NEXT_WORLD.render(rng, int(rng.integers(low, high + 1)), FULL)
        pixels, size = views(scene.image)
        with mixed_precision():
            states = hidden_states(clip, pixels[0], [FULL] * pixels.shape[1])[:, 1:]
        unmasked = [replace(item, coverage=_NO_MASK) for item in scene.objects]
        blank = np.broadcast_to(np.uint8(0), scene.image.shape)
        by_size[scene.image.shape].append(
            Picture(
                states.flatten(0, 1).bfloat16(),
                packing(llava, size, pixels.shape[1]),
                replace(scene, image=blank, objects=unmasked),
            )
        )
    return list(by_size.values())


def _shown(source: Tensor, diet: Diet, rng: np.random.Generator) -> Tensor:
    """Draw what a step shows: places (batch, kept) in a packed picture, in order."""
    if diet.pool == BASE_VIEW:
        return torch.arange(GRID * GRID).expand(diet.batch, -1)
    patches, newlines = ((source >= 0) == wanted for wanted in (True, False))
    places = patches.nonzero()[:, 0]
    places = places[diet.kept(len(places), rng)]
    if rng.random() < NEWLINES:
        between = newlines.nonzero()[:, 0].expand(diet.batch, -1)
        places = torch.cat([places, between], 1).sort(1).values
    return places


def _visual(llava: LlavaNextForConditionalGeneration, features: Tensor, source: Tensor) -> Tensor:
    """Return visual tokens (batch, kept, width) of all features of each picture and what stands where."""
    of_patches = source.clamp(min=0)[..., None].expand(-1, -1, features.shape[-1])
    with mixed_precision():
        projected = llava.model.multi_modal_projector(features.gather(1, of_patches).float())
    newline: Tensor = llava.model.image_newline
    return torch.where(source[..., None] < 0, newline, projected.float())


def _losses(
    llava: LlavaNextForConditionalGeneration, by_size: list[list[Picture]], run: Run
) -> dict[str, Tensor]:
    number = run.draw(PHASES)
    diet, rng = DIETS[number], run.rng
    counts = np.array([len(pictures) for pictures in by_size])
    pictures = by_size[rng.choice(len(by_size), p=counts / counts.sum())]
    chosen = [pictures[index] for index in rng.integers(0, len(pictures), diet.batch)]
    source = chosen[0].source
    places = _shown(source, diet, rng)
    visual = _visual(llava, torch.stack([picture.features for picture in chosen]), source[places])
    asked = [
        ask_many(picture.scene, kinds, rng, world=NEXT_WORLD)
        for picture, kinds in zip(chosen, diet.kinds(BENCHMARK, rng), strict=True)
    ]
    return {f"answer/{number}": language_loss(llava, visual, positions(places, len(source), rng), asked)}


def train_crops(
    llava: LlavaNextForConditionalGeneration,
    clip: CLIPModel,
    pictures: int,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    monitor: Callable[[LlavaNextForConditionalGeneration], dict[str, float]],
) -> LlavaNextForConditionalGeneration:
    """Train all but the tower for ``steps`` steps, continuing from ``checkpoint`` if it exists."""
    torch.manual_seed(seed)
    llava.model.vision_tower.requires_grad_(False)
    by_size = render_pictures(llava, clip, seed, pictures)
    progress.note("pictures rendered, vision features cached")
    optimizer = torch.optim.AdamW(decay_groups(llava, 0.05), lr=PEAK_RATE, betas=(0.9, 0.98), foreach=True)
    run = Run(llava, optimizer, steps, PEAK_RATE, seed, checkpoint)
    run.train("language", lambda: _losses(llava, by_size, run), progress, lambda: monitor(llava))
    return llava.eval()

"""Train the tiny model from start to end: render, CLIP, language model, both together, export."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from script_exp.training.architecture import Sizes
from script_exp.training.finish import finish
from script_exp.training.monitor import accuracy, relevance_auc
from script_exp.training.optimization import Progress
from script_exp.training.pools import PoolSizes, render_pools
from script_exp.training.train_joint import JOINT, POLISH, JointStage
from script_exp.training.train_language import train_language
from script_exp.training.train_vision import VisionStage, train_vision


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights; the defaults made the shipped weights (docs/tiny_model.md).

    Attributes:
        monitor_scenes: number of scenes in the measurements during training; the final measurements use
            three times as many.
    """

    seed: int = 2
    vision_steps: int = 3200
    language_steps: int = 2500
    joint_steps: int = 6000
    polish_steps: int = 4000
    pools: PoolSizes = field(default_factory=PoolSizes)
    sizes: Sizes = field(default_factory=Sizes)
    monitor_scenes: int = 24


SMOKE = Recipe(
    vision_steps=6,
    language_steps=6,
    joint_steps=6,
    polish_steps=6,
    pools=PoolSizes(40, 40, 10),
    sizes=Sizes(
        vision_width=32, text_width=32, projection=32, language_width=32, vision_layers=2, language_layers=1
    ),
    monitor_scenes=1,
)
"""A few steps of a much smaller model: shows that training runs, resumes and exports, not that it learns."""


def train(recipe: Recipe, out: Path, progress: Progress, vision_only: bool = False) -> Path:
    """Train, continuing from checkpoints in ``out/checkpoints``; return the folder with the result."""
    begun = time.monotonic()
    progress.note("rendering training windows")
    pools = render_pools(recipe.seed, recipe.pools)
    torch.manual_seed(recipe.seed)
    vision = train_vision(
        VisionStage(recipe.sizes),
        pools,
        recipe.vision_steps,
        recipe.seed,
        out / "checkpoints" / "vision.pt",
        progress,
        lambda model: relevance_auc(model, recipe.monitor_scenes),
    )
    if vision_only:
        return out / "checkpoints"
    llava = train_language(
        vision.clip,
        pools,
        recipe.sizes,
        recipe.language_steps,
        recipe.seed,
        out / "checkpoints" / "language.pt",
        progress,
        lambda model: accuracy(model, recipe.monitor_scenes),
    )
    courses = (JOINT, recipe.joint_steps), (POLISH, recipe.polish_steps)
    weights = finish(
        JointStage(vision, llava),
        courses,
        pools,
        recipe.seed,
        recipe.monitor_scenes,
        out,
        progress,
        {"recipe": asdict(recipe)},
    )
    progress.note(f"exported to {weights} after {(time.monotonic() - begun) / 60:.1f} minutes in this run")
    return weights

"""Train the model with crops: go on from the shipped weights with base views, then with all views.

Three stages. Vision and joint: the losses of the first training (:mod:`~script_exp.training.train_vision`,
:mod:`~script_exp.training.train_joint`) on single views, half of them parts of crops and half of base views,
so that the tower learns objects of half the size. Language: projector and language model on
whole pictures (:mod:`~script_exp.training.train_crops`). All supervision is at image level, and tokens are
dropped uniformly over patches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch

from script_exp.shapes.next_scenes import NEXT_WORLD, VIEWS
from script_exp.tiny import WEIGHTS
from script_exp.training.diet import BENCHMARK
from script_exp.training.monitor import accuracy, relevance_auc
from script_exp.training.next_model import build_next, save_next, see_base, see_views
from script_exp.training.next_pools import render_next_pools
from script_exp.training.optimization import Progress
from script_exp.training.pools import PoolSizes
from script_exp.training.start import load_start
from script_exp.training.train_crops import train_crops
from script_exp.training.train_joint import Course, JointStage, train_joint
from script_exp.training.train_vision import train_vision
from script_exp.training.vocabulary import WORDS

VISION_RATE = 3e-4
"""Peak learning rate of the vision stage: less than from scratch."""
JOINT = Course("joint", 5e-4, ((1.0, (0.1, 0.45, 0.1, 0.15, 0.2)),), BENCHMARK)


@dataclass(frozen=True)
class NextRecipe:
    """Everything that determines the weights, but for those that training starts from.

    Attributes:
        pools: numbers of windows of single views.
        pictures: number of whole pictures for the language stage.
        monitor_scenes: as in :class:`~script_exp.training.train.Recipe`.
    """

    seed: int = 2
    vision_steps: int = 400
    joint_steps: int = 800
    language_steps: int = 2000
    pools: PoolSizes = field(default_factory=lambda: PoolSizes(8000, 8000, 1500))
    pictures: int = 1200
    monitor_scenes: int = 15


NEXT_SMOKE = NextRecipe(
    vision_steps=1, joint_steps=1, language_steps=1, pools=PoolSizes(8, 8, 4), pictures=3, monitor_scenes=1
)
"""A few steps: shows that training runs, resumes and exports, not that it learns."""


def train_next(recipe: NextRecipe, out: Path, progress: Progress, vision_only: bool = False) -> Path:
    """Train, continuing from checkpoints in ``out/checkpoints``; return the folder with the result."""
    progress.note("rendering training windows")
    pools = render_next_pools(recipe.seed, recipe.pools)
    torch.manual_seed(recipe.seed)
    vision, start = load_start(WEIGHTS, len(WORDS))
    checkpoints, scenes = out / "checkpoints", recipe.monitor_scenes
    train_vision(
        vision,
        pools,
        recipe.vision_steps,
        recipe.seed,
        checkpoints / "vision.pt",
        progress,
        lambda model: relevance_auc(model, scenes, world=VIEWS),
        VISION_RATE,
    )
    if vision_only:
        return checkpoints
    both = train_joint(
        JointStage(vision, start),
        JOINT,
        pools,
        recipe.joint_steps,
        recipe.seed,
        checkpoints / "joint.pt",
        progress,
        lambda model: accuracy(model, scenes, world=VIEWS),
    )
    measure = partial(accuracy, world=NEXT_WORLD)
    llava = train_crops(
        build_next(both.llava),
        both.vision.clip,
        recipe.pictures,
        recipe.language_steps,
        recipe.seed,
        checkpoints / "language.pt",
        progress,
        lambda model: measure(model, scenes, see=see_views),
    )
    measured = {
        "accuracy": measure(llava, 3 * scenes, see=see_views),
        "accuracy_of_base_view": measure(llava, 3 * scenes, see=see_base),
        "accuracy_without_image": measure(llava, 3 * scenes, see=see_base, blind=True),
        "relevance_auc_of_single_views": relevance_auc(both.vision.clip, 3 * scenes, world=VIEWS),
    }
    progress.note(f"monitoring scenes: {measured}")
    notes = {"recipe": asdict(recipe), "torch": str(torch.__version__), "monitoring": measured}
    save_next(llava, both.vision.clip, out / "weights", {"model": "next", **notes})
    progress.note(f"exported to {out / 'weights'}")
    return out / "weights"

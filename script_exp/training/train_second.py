"""Train a model for the second world: go on from the shipped weights with scenes and words new to them.

Three stages. Vision: the losses of stage 1 (:mod:`~script_exp.training.train_vision`) on the new scenes, so
that patches and texts learn labels and their words. Joint and polish: tower, projector and language model
together on questions and answers (:mod:`~script_exp.training.train_joint`). As in the first world, all
supervision is at image level, and tokens are dropped uniformly over patches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.tiny import WEIGHTS
from script_exp.training.finish import finish
from script_exp.training.monitor import relevance_auc
from script_exp.training.optimization import Progress
from script_exp.training.pools import PoolSizes, render_second_pools
from script_exp.training.start import load_start
from script_exp.training.train_joint import DIETS, Course, JointStage
from script_exp.training.train_vision import train_vision
from script_exp.training.vocabulary import SECOND_WORDS

VISION_RATE = 8e-4
"""Peak learning rate of the vision stage: less than from scratch."""
_KINDS = {
    "beside_color": 1.5, "beside_shape": 1.5, "through": 1.5, "largest": 1.0, "word": 1.5, "word_below": 1.0,
    "count": 1.5, "exist": 1.0, "exist_any": 1.0,
}  # fmt: skip
_DIETS = tuple(replace(diet, batch=diet.batch // 2) for diet in DIETS)
"""Half as many windows a step as in the first world: the same time gives twice as many steps."""
JOINT = Course(
    "joint",
    1e-3,
    (
        (0.3, (0.35, 0.4, 0.1, 0.15, 0.0)),
        (0.6, (0.1, 0.45, 0.1, 0.2, 0.15)),
        (1.0, (0.05, 0.3, 0.1, 0.15, 0.4)),
    ),
    _KINDS,
    _DIETS,
)
POLISH = Course("polish", 5e-4, ((1.0, (0.03, 0.17, 0.1, 0.25, 0.45)),), _KINDS, _DIETS)


@dataclass(frozen=True)
class SecondRecipe:
    """Everything that determines the weights, but for those that training starts from.

    Attributes:
        monitor_scenes: as in :class:`~script_exp.training.train.Recipe`.
    """

    seed: int = 2
    vision_steps: int = 4000
    joint_steps: int = 8000
    polish_steps: int = 2500
    pools: PoolSizes = field(default_factory=lambda: PoolSizes(12_000, 12_000, 4000))
    monitor_scenes: int = 24


SECOND_SMOKE = SecondRecipe(
    vision_steps=1, joint_steps=1, polish_steps=1, pools=PoolSizes(20, 20, 6), monitor_scenes=1
)
"""A few steps: shows that training runs, resumes and exports, not that it learns."""


def train_second(recipe: SecondRecipe, out: Path, progress: Progress, vision_only: bool = False) -> Path:
    """Train, continuing from checkpoints in ``out/checkpoints``; return the folder with the result."""
    progress.note("rendering training windows")
    pools = render_second_pools(recipe.seed, recipe.pools)
    torch.manual_seed(recipe.seed)
    vision, llava = load_start(WEIGHTS, len(SECOND_WORDS))
    train_vision(
        vision,
        pools,
        recipe.vision_steps,
        recipe.seed,
        out / "checkpoints" / "vision.pt",
        progress,
        lambda model: relevance_auc(model, recipe.monitor_scenes, world=SECOND_WORLD),
        VISION_RATE,
    )
    if vision_only:
        return out / "checkpoints"
    courses = (JOINT, recipe.joint_steps), (POLISH, recipe.polish_steps)
    weights = finish(
        JointStage(vision, llava),
        courses,
        pools,
        recipe.seed,
        recipe.monitor_scenes,
        out,
        progress,
        {"world": 2, "recipe": asdict(recipe)},
    )
    progress.note(f"exported to {weights}")
    return weights

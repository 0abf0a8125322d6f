"""Stages 3 and 4: train tower, projector and language model together on questions and answers.

The frozen tower of stage 2 was never trained on answers, for example on digits. Here the answers train the
tower, too. The naming loss of stage 1 continues, so that patches and texts stay in one space. Supervision is
still at image level only. Stage 4 does the same, mostly on whole scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from script_exp.training.diet import BENCHMARK, SLOWEST, Diet, positions
from script_exp.training.optimization import Progress, Run, decay_groups
from script_exp.training.packing import answer_loss
from script_exp.training.precision import mixed_precision
from script_exp.training.train_vision import VisionStage, naming_targets
from script_exp.training.vision_features import hidden_states, patch_embeddings, position_ids, to_pixels
from script_exp.training.windows import Pool, ask_many

VISION_SHARE = 0.1
"""Learning rate of the CLIP modules relative to the language model's. With 0.5 the features changed faster
than the language model could follow: it lost shapes and digits in the first 500 steps."""
POSITION_WEIGHT = 0.25
NAMING_EVERY, NAMING_WEIGHT = 3, 0.3
DIETS = (
    Diet(0, 56, 6),
    Diet(1, 18, 12),
    Diet(1, 24, 12, (0.4, 1.0)),
    Diet(2, 10, 14, (0.1, 0.5)),
    Diet(2, 5, 18),
)


@dataclass(frozen=True)
class Course:
    """The settings in which the two stages differ.

    Attributes:
        name: name of the stage.
        peak_rate: learning rate of the language model after the warm-up.
        phases: until this share of all steps, draw diet i with this probability.
        kinds: kinds of question, with their relative frequency.
        diets: what a step may show.
    """

    name: str
    peak_rate: float
    phases: tuple[tuple[float, tuple[float, ...]], ...]
    kinds: dict[str, float]
    diets: tuple[Diet, ...] = DIETS


JOINT = Course(
    "joint",
    1e-3,
    ((0.5, (0.1, 0.4, 0.1, 0.2, 0.2)), (1.0, (0.05, 0.3, 0.1, 0.15, 0.4))),
    BENCHMARK,
)
POLISH = Course("polish", 5e-4, ((1.0, (0.03, 0.17, 0.1, 0.25, 0.45)),), SLOWEST)


class JointStage(nn.Module):
    """The CLIP of stage 1 with its training parameters, and a LLaVA whose tower is CLIP's own."""

    def __init__(self, vision: VisionStage, llava: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.vision = vision
        self.llava = llava
        llava.model.vision_tower = vision.clip.vision_model
        vision.requires_grad_(True)

    def groups(self) -> list[dict[str, object]]:
        """Return parameter groups with their share of the learning rate: CLIP, and the rest."""
        tower = self.llava.model.vision_tower
        self.llava.model.vision_tower = None
        rest = decay_groups(self.llava, 0.05)
        self.llava.model.vision_tower = tower
        clip = decay_groups(self.vision, 0.03)
        return [group | {"share": VISION_SHARE} for group in clip] + [
            group | {"share": 1.0} for group in rest
        ]


def _losses(stage: JointStage, course: Course, pools: tuple[Pool, ...], run: Run) -> dict[str, Tensor]:
    number = run.draw(course.phases)
    diet = course.diets[number]
    pool, rng, clip = pools[diet.pool], run.rng, stage.vision.clip
    chosen = rng.integers(0, len(pool.scenes), diet.batch)
    windows = [pool.scenes[index].window for index in chosen]
    places = diet.kept(pool.side**2, rng)
    drawn = diet.kinds(course.kinds, rng)
    world = pool.naming.world
    asked = [
        ask_many(pool.scenes[index], kinds, rng, world=world)
        for index, kinds in zip(chosen, drawn, strict=True)
    ]
    with mixed_precision():
        states = hidden_states(clip, to_pixels(pool.images[chosen]), windows)[:, 1:]
    features = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
    places = positions(places, pool.side**2, rng)
    losses = {f"answer/{number}": answer_loss(stage.llava, features, places, asked)}
    losses["position"] = POSITION_WEIGHT * stage.vision.position_loss(states, position_ids(windows)[:, 1:])
    if run.step % NAMING_EVERY == 0:
        with mixed_precision():
            embedded = patch_embeddings(clip, states)
        texts, labels = naming_targets(pool, chosen, rng)
        losses["naming"] = NAMING_WEIGHT * stage.vision.naming_loss(embedded, texts, labels)
    return losses


def train_joint(
    stage: JointStage,
    course: Course,
    pools: tuple[Pool, Pool, Pool],
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    monitor: Callable[[LlavaForConditionalGeneration], dict[str, float]],
) -> JointStage:
    """Train everything for ``steps`` steps, continuing from ``checkpoint`` if it exists."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(stage.groups(), lr=course.peak_rate, betas=(0.9, 0.98), foreach=True)
    run = Run(stage, optimizer, steps, course.peak_rate, seed, checkpoint)
    run.train(course.name, lambda: _losses(stage, course, pools, run), progress, lambda: monitor(stage.llava))
    stage.eval()
    return stage

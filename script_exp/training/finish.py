"""The end of every training: tower, projector and language model together, final measurements, export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from script_exp.training.export import save_checkpoint
from script_exp.training.monitor import accuracy, relevance_auc
from script_exp.training.optimization import Progress
from script_exp.training.train_joint import Course, JointStage, train_joint
from script_exp.training.windows import Pool


def finish(
    both: JointStage,
    courses: Sequence[tuple[Course, int]],
    pools: tuple[Pool, Pool, Pool],
    seed: int,
    monitor_scenes: int,
    out: Path,
    progress: Progress,
    notes: dict[str, Any],
) -> Path:
    """Train, continuing from checkpoints in ``out/checkpoints``; measure and export.

    Args:
        both: what the stages before have trained.
        courses: the stages with their numbers of steps, in order.
        monitor_scenes: number of scenes in the measurements during training; the final ones use three times
            as many.
        notes: what ``training.json`` says besides the final measurements.

    Returns:
        the folder with the weights.
    """
    world = pools[0].naming.world
    for course, steps in courses:
        train_joint(
            both,
            course,
            pools,
            steps,
            seed,
            out / "checkpoints" / f"{course.name}.pt",
            progress,
            lambda model: accuracy(model, monitor_scenes, world=world),
        )
    llava, scenes = both.llava, 3 * monitor_scenes
    measured = {
        "accuracy": accuracy(llava, scenes, world=world),
        "accuracy_without_image": accuracy(llava, scenes, blind=True, world=world),
        "relevance_auc": relevance_auc(both.vision.clip, scenes, world=world),
    }
    progress.note(f"monitoring scenes: {measured}")
    every = notes | {"torch": str(torch.__version__), "monitoring": measured}
    save_checkpoint(llava, both.vision.clip, out / "weights", every)
    return out / "weights"

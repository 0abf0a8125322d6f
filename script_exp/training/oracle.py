"""A pruner that knows which objects a question needs, to show what the embedded benchmark resolves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from script_exp.benchmarks.shapes import scene_id
from script_exp.pruners import Query, Random, VisualTokens
from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.scenes import GRID
from script_exp.shapes.world import World
from script_exp.training.monitor import COVERED


def needed_patches(scene_seed: int, scenes: int, world: World = FIRST_WORLD) -> dict[str, np.ndarray]:
    """Return the share of each patch (576,) that needed objects cover, by sample id; zeros without any."""
    needed = {}
    for number, (scene, questions) in enumerate(world.held_out(scene_seed, scenes)):
        for turn, question in enumerate(questions):
            coverage = [scene.objects[index].coverage for index in question.objects]
            shares = np.sum(coverage, axis=0) if coverage else np.zeros(GRID * GRID)
            needed[f"{scene_id(scene_seed, number)}-{turn}"] = shares
    return needed


@dataclass(kw_only=True)
class Oracle(Random):
    """Keep the patches of the objects that the question needs, most covered first; then others at random.

    Attributes:
        needed: from :func:`needed_patches`.
    """

    needed: dict[str, np.ndarray] = field(repr=False)

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        shares = torch.from_numpy(self.needed[visual.key]).float()
        shown = torch.where(shares > COVERED, 1 + shares, 0.0)
        return shown[None] + 1e-3 * super().score(visual, query)

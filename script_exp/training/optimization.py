"""What the training stages share: loop, learning rate, checkpoints that resume, and progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

CHECKPOINT_EVERY = 500
WARM_UP = 200


def decay_groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameter groups: weight decay for matrices only."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


class Run:
    """One stage's state: module, optimizer, step and random generator, saved and restored together."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int,
        peak_rate: float,
        seed: int,
        checkpoint: Path,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.steps = steps
        self.peak_rate = peak_rate
        self.checkpoint = checkpoint
        self.rng = np.random.default_rng([seed, 7])
        self.step = 0
        self.averages: dict[str, float] = {}

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.step = state["step"]

    def save(self) -> None:
        """Write the checkpoint beside its place and rename it: an interruption never leaves half a file."""
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "step": self.step,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def update(self, losses: dict[str, Tensor]) -> None:
        """One step on the sum of ``losses`` with linear warm-up and cosine decay to 2 % of the peak."""
        warm = min(1.0, (self.step + 1) / min(WARM_UP, max(1, self.steps // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("share", 1.0) * self.peak_rate * warm * (0.98 * cosine + 0.02)
        self.optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        for name, value in losses.items():
            self.averages[name] = 0.97 * self.averages.get(name, value.item()) + 0.03 * value.item()

    def draw(self, phases: Sequence[tuple[float, Sequence[float]]]) -> int:
        """A number drawn with the chances of the first phase, (share of all steps, chances), not yet over."""
        chances = next(chances for until, chances in phases if self.step < until * self.steps)
        return int(self.rng.choice(len(chances), p=chances))

    def train(
        self,
        stage: str,
        losses: Callable[[], dict[str, Tensor]],
        progress: Progress,
        monitor: Callable[[], dict[str, float]],
    ) -> None:
        """Take all steps that are left, continuing from the checkpoint where it exists.

        Args:
            stage: its name, for ``progress``.
            losses: of one step.
            progress: told after every step.
            monitor: measures whenever a checkpoint is written on the way.
        """
        self.resume()
        while self.step < self.steps:
            self.update(losses())
            progress.step(stage, self)
            if self.step % CHECKPOINT_EVERY == 0:
                self.save()
                progress.note(f"{stage} step {self.step}: {monitor()}")
        self.save()


class Progress(Protocol):
    """Where a stage reports to."""

    def step(self, stage: str, run: Run) -> None:
        """Called after every step."""

    def note(self, text: str) -> None:
        """A line worth keeping."""

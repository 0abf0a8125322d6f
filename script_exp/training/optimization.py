"""What the training stages share: loop, learning rate, resumable checkpoints, and progress."""

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
    """Return parameter groups with weight decay for matrices only."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


class Run:
    """The state of one stage: module, optimizer, step and random generator, saved and restored together."""

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
        """Write the checkpoint to another file and rename it: an interruption never leaves half a file."""
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
        """Take one step on the sum of ``losses``, with linear warm-up and cosine decay to 2 % of the peak."""
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
        """Draw an index by the chances of the current phase; phases are (until share of steps, chances)."""
        chances = next(chances for until, chances in phases if self.step < until * self.steps)
        return int(self.rng.choice(len(chances), p=chances))

    def train(
        self,
        stage: str,
        losses: Callable[[], dict[str, Tensor]],
        progress: Progress,
        monitor: Callable[[], dict[str, float]],
    ) -> None:
        """Take all remaining steps, continuing from the checkpoint if it exists.

        Args:
            stage: name of the stage, for ``progress``.
            losses: computes the losses of one step.
            progress: is called after every step.
            monitor: measures the model whenever a checkpoint is written before the end.
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
    """Receives the reports of a stage."""

    def step(self, stage: str, run: Run) -> None:
        """Report a step that was taken."""

    def note(self, text: str) -> None:
        """Report a line that is worth keeping."""

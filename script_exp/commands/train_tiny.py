"""Train weights for the built-in tiny model (docs/tiny_model.md states the cost).

python runners/train_tiny.py --seed 2 --out outputs/tiny_model              # from scratch, as those shipped
python runners/train_tiny.py --world 2 --seed 2 --out outputs/tiny_world_2  # on from them, for shapes_2
python runners/train_tiny.py --model next --seed 2 --out outputs/tiny_next  # on from them, with crops

Run the same command again to resume after an interruption. The weights are written to <out>/weights; evaluate
them with `model.path=<out>/weights`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from script_exp.terminal.entry import interruptible, new_parser
from script_exp.training.optimization import Run
from script_exp.training.train import SMOKE, Recipe, train
from script_exp.training.train_next import NEXT_SMOKE, NextRecipe, train_next
from script_exp.training.train_second import SECOND_SMOKE, SecondRecipe, train_second


class Bars:
    """One progress bar per stage with the running losses, and notes above the bars."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks = {
            stage: self._bars.add_task(stage, total=None, start=False, losses="")
            for stage in ("vision", "language", "joint", "polish")
        }

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, stage: str, run: Run) -> None:
        """Advance a stage's bar."""
        losses = " ".join(f"{name} {value:.3f}" for name, value in sorted(run.averages.items()))
        self._bars.start_task(self._tasks[stage])
        self._bars.update(self._tasks[stage], total=run.steps, completed=run.step, losses=losses)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(text, highlight=False)


def keep_freed_memory() -> None:
    """Keep glibc from returning freed tensors to the system: page faults took 40 % of the time otherwise."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        trim_threshold, top_padding, most_mappings = -1, -2, -4  # names of the options in malloc.h
        library.mallopt(most_mappings, 0)
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(top_padding, 2**28)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the defaults are those of :class:`Recipe`."""
    recipe = Recipe()
    made = new_parser(__doc__)
    made.add_argument(
        "--seed", type=int, default=recipe.seed, help="seed of the scenes, weights and data order"
    )
    made.add_argument("--out", type=Path, required=True, help="folder for checkpoints/ and weights/")
    made.add_argument(
        "--stage", choices=("vision", "all"), default="all", help="stop after stage 1, or run all"
    )
    made.add_argument(
        "--model", choices=("tiny", "next"), default="tiny", help="a LLaVA, or a LLaVA-NeXT (tiny)"
    )
    made.add_argument("--world", type=int, choices=(1, 2), default=1, help="scenes: shapes or shapes_2 (1)")
    made.add_argument("--vision-steps", type=int, help=f"steps of stage 1 ({recipe.vision_steps})")
    made.add_argument("--language-steps", type=int, help=f"steps of stage 2 ({recipe.language_steps})")
    made.add_argument("--joint-steps", type=int, help=f"steps of stage 3 ({recipe.joint_steps})")
    made.add_argument("--polish-steps", type=int, help=f"steps of stage 4 ({recipe.polish_steps})")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    made.add_argument("--smoke", action="store_true", help="a few steps of a much smaller model")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Train the model and print the folder of its weights."""
    given = parser().parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    if given.model == "next" and (given.world == 2 or given.polish_steps is not None):
        parser().error("--model next has no --world 2 and no --polish-steps: it ends with --language-steps")
    if given.world == 2 and given.language_steps is not None:
        parser().error("--language-steps: --world 2 has no such stage, it starts from the shipped weights")
    names = ("vision_steps", "language_steps", "joint_steps", "polish_steps")
    chosen = {name: steps for name in names if (steps := getattr(given, name)) is not None}
    chosen["seed"] = given.seed
    only_vision = given.stage == "vision"
    with interruptible("repeat the command to resume"), Bars() as bars:
        if given.model == "next":
            crops = replace(NEXT_SMOKE if given.smoke else NextRecipe(), **chosen)
            folder = train_next(crops, given.out, bars, vision_only=only_vision)
        elif given.world == 1:
            first = replace(SMOKE if given.smoke else Recipe(), **chosen)
            folder = train(first, given.out, bars, vision_only=only_vision)
        else:
            second = replace(SECOND_SMOKE if given.smoke else SecondRecipe(), **chosen)
            folder = train_second(second, given.out, bars, vision_only=only_vision)
    print(folder)
    return 0

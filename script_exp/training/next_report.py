"""Report what only crops show: answers from all views, from the base view alone, and without a picture."""

from __future__ import annotations

from functools import partial

import torch

from script_exp.benchmarks.shapes import NextShapes
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.rules import PruningRules
from script_exp.training.monitor import accuracy
from script_exp.training.next_model import see_base, see_views


def print_next_report(path: str, benchmark: NextShapes) -> None:
    """Print a Markdown table of the accuracy by kind.

    Args:
        path: folder of the checkpoint, its id on the hub, or ``embedded_next``.
        benchmark: the pictures and questions.

    Raises:
        UserError: if there is no such checkpoint.
    """
    model = load_model(
        find_checkpoint(Wanted(path), needs_query=False),
        device=torch.device("cpu"),
        dtype=torch.float32,
        attention="sdpa",
        with_query=False,
        rules=PruningRules(relevance_sign=1),
    )
    measure = partial(accuracy, model.model, benchmark.scenes, benchmark.scene_seed, world=benchmark.world)
    columns = measure(see=see_views), measure(see=see_base), measure(see=see_base, blind=True)
    print("| kind | all views, % | base view alone, % | without the picture, % |\n|---|---|---|---|")
    for kind in columns[0]:
        print(f"| {kind} | " + " | ".join(f"{100 * column[kind]:.1f}" for column in columns) + " |")

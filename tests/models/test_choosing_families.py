"""Methods that choose tokens, in every model family: exact counts, and a batch is like its rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from itertools import product
from operator import or_

import torch

from script_exp.pruners import (
    CDPruner,
    DivPrune,
    FasterVLM,
    GPrune,
    HiPrune,
    HiRED,
    HoloV,
    MMTok,
    PruneSID,
    Scope,
    Stride,
    VisPruner,
)

METHODS = {
    "cdpruner": CDPruner,
    "divprune": DivPrune,
    "divprune_crop": partial(DivPrune, over="crop"),
    "fastervlm": FasterVLM,
    "gprune": GPrune,
    "hiprune": partial(HiPrune, alpha=0.8),  # anchors at a few tokens, too
    "hired": HiRED,
    "holov": HoloV,
    "holov_crop": partial(HoloV, over="crop"),
    "mmtok": MMTok,
    "prunesid": PruneSID,
    "scope": Scope,
    "stride": Stride,
    "vispruner": VisPruner,
}
UNEQUAL = {"divprune", "hired", "holov"}
EVERY = reduce(or_, (make(budget=9).reads for make in METHODS.values()))
"""What any of the methods reads, so that pictures are encoded once for all of them."""


def test_counts_are_exact_and_a_batch_is_like_its_rows(model, encoded):
    batch, *single = (encoded(rows, EVERY) for rows in ((0, 1, 2), (0,), (1,), (2,)))
    for (name, make), budget in product(METHODS.items(), (9, 0.7)):
        pruner = make(budget=budget)
        model.adapter.check_signals(pruner.reads.signals, model.model.config)
        prompt = pruned(model, batch, pruner)
        for kept, image in zip(prompt.kept, batch[1], strict=True):
            crops, n, _ = image.visual.projected.shape
            count = round(0.7 * n) if budget == 0.7 else min(budget * image.budget_crops // crops, n)
            assert sum(kept.counts) == len(kept.places) == crops * count, name
            assert (kept.places.diff() > 0).all(), name
            if name not in UNEQUAL:
                assert kept.indices.shape == (crops, count), name
        alone = [kept for row in single for kept in pruned(model, row, pruner).kept]
        for one, other in zip(prompt.kept, alone, strict=True):
            assert torch.equal(one.places, other.places), name


def pruned(model, given, pruner):
    """The prompt of encoded rows, of which the method sees what it declares and nothing else."""
    inputs, images, queries, keys = given
    return model.prune(
        inputs, [declared(image, pruner.reads) for image in images], pruner,
        queries if pruner.reads.question else None, keys=keys,
    )  # fmt: skip


def declared(image, reads):
    visual = image.visual
    signals = {signal: visual.signals[signal] for signal in reads.signals}
    return replace(
        image, visual=replace(visual, joint=visual.joint if reads.joint else None, signals=signals)
    )

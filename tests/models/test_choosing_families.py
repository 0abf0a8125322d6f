"""Methods that choose tokens, in every model family: exact counts, and a batch is like its rows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from families import pruned_rows, visuals

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


@pytest.mark.parametrize("budget", [9, 0.7])
@pytest.mark.parametrize("name", METHODS)
def test_counts_are_exact_and_a_batch_is_like_its_rows(model, family, name, budget):
    pruner = METHODS[name](budget=budget)
    model.adapter.check_signals(pruner.reads.signals, model.model.config)
    rows = list(zip(visuals(family), range(3), strict=True))
    prompt, images = pruned_rows(model, rows, pruner)
    for kept, image in zip(prompt.kept, images, strict=True):
        crops, n, _ = image.visual.projected.shape
        count = round(0.7 * n) if budget == 0.7 else min(budget * image.budget_crops // crops, n)
        assert sum(kept.counts) == len(kept.places) == crops * count
        assert (kept.places.diff() > 0).all()
        if name not in UNEQUAL:
            assert kept.indices.shape == (crops, count)
    alone = [kept for row in rows for kept in pruned_rows(model, [row], pruner)[0].kept]
    for one, other in zip(prompt.kept, alone, strict=True):
        assert torch.equal(one.places, other.places)

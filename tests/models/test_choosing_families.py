"""Methods that choose tokens, in every model family: exact counts, and a batch is like its rows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from families import CONFIGS, build, visuals

from script_exp.pruners import (
    CDPruner,
    DivPrune,
    FasterVLM,
    GPrune,
    HiPrune,
    HoloV,
    PruneSID,
    Scope,
    Stride,
    VisPruner,
)

METHODS = {
    "cdpruner": CDPruner,
    "divprune": DivPrune,
    "fastervlm": FasterVLM,
    "gprune": GPrune,
    "hiprune": partial(HiPrune, alpha=0.8),  # anchors at a few tokens, too
    "holov": HoloV,
    "prunesid": PruneSID,
    "scope": Scope,
    "stride": Stride,
    "vispruner": VisPruner,
}
QUESTIONS = ["what is it?", "how many red stars are there in the picture?", "is it?"]


@pytest.fixture(scope="module", params=CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    return build(family, tmp_path_factory.mktemp(family))


def pruned(model, rows, pruner):
    """What is kept of each image of some rows, and the images."""
    questions = [QUESTIONS[row] for _, row in rows]
    inputs = model.preprocess([own for own, _ in rows], [model.chat_prompt(text) for text in questions])
    images = model.encode_images(inputs, pruner.reads)
    queries = model.encode_queries(questions) if pruner.needs_query else None
    return model.prune(inputs, images, pruner, queries).kept, images


@pytest.mark.parametrize("budget", [9, 0.7])
@pytest.mark.parametrize("name", METHODS)
def test_counts_are_exact_and_a_batch_is_like_its_rows(model, family, name, budget):
    pruner = METHODS[name](budget=budget)
    model.adapter.check_signals(pruner.reads.signals, model.model.config)
    rows = list(zip(visuals(family), range(3), strict=True))
    together, images = pruned(model, rows, pruner)
    for kept, image in zip(together, images, strict=True):
        crops, n, _ = image.visual.projected.shape
        count = round(0.7 * n) if budget == 0.7 else min(budget * image.budget_crops // crops, n)
        assert kept.indices.shape == (crops, count)
        assert (kept.indices.diff(dim=1) > 0).all()
    alone = [kept for row in rows for kept in pruned(model, [row], pruner)[0]]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.indices, other.indices)

"""Methods inside the LLM in every model family: a padded batch gives what its rows give alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from families import pruned_images

from script_exp.errors import SettingError
from script_exp.models.layer_kinds import LINEAR, kind_of, window_of
from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    Feather,
    FitPrune,
    HiMAP,
    HoliTomInside,
    MustDrop,
    NoPruning,
    PruneVidInside,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)
from script_exp.pruners.contract.signals import SALIENCY

METHODS = [
    DART(budget=5, layer=2, budget_as="after"),
    FitPrune(budget=0.2, budget_as="after"),
    HiMAP(budget=5, stages=[2, 3], budget_as="after"),
    HoliTomInside(budget=5, budget_as="after"),
    PACT(budget=5, layer=2, budget_as="after"),
    PruneVidInside(budget=5, stages=[2], budget_as="after"),
    SparseVLMPlus(budget=5, stages=[1, 2, 3], budget_as="after"),
    V2Drop(budget=0.5, stages=[1, 2, 3]),
    VTW(budget=0.5),
]

MUSTDROP = MustDrop(budget=5, stages=[2, 3], budget_as="after", positions="keep", key=0.3)
_FIRST = "stages at layers 2, 3; at 1 it reads layer 0, which is linear attention, where no token's attention"
NOT_LINEAR = {
    FitPrune: _FIRST,  # has a stage at every layer
    PACT: "a method that weighs no tokens: merged tokens would have to be weighed in a mask",
    SparseVLMPlus: _FIRST,  # has three stages
}
"""Methods that an LLM of four layers, two of which are linear attention, cannot run, and why."""


def answers(model, encoded, rows, pruner):
    """Logits (rows, steps, vocabulary) of two steps, and the tokens of rows that the first layer sees."""
    prompt, _ = pruned_images(model, encoded(rows, pruner.reads), pruner)
    with torch.inference_mode(), model.pruning_inside(prompt):
        output = model.model.generate(
            **prompt.arguments, max_new_tokens=2, do_sample=False, return_dict_in_generate=True,
            output_logits=True,
        )  # fmt: skip
    by_layer = [
        model.visual_by_layer(pruner, prompt.before[row], prompt.entering[row], prompt.budget_crops[row])
        for row in range(len(rows))
    ]
    held = [getattr(layer, "keys", None) for layer in output.past_key_values.layers]
    held = [None if keys is None else keys.shape[2] for keys in held]
    return torch.stack(output.logits, dim=1), by_layer, held, prompt


def test_a_batch_gives_what_its_rows_give(model, encoded):
    """Counts by layer are those that ran, whatever the image's size, its crops and its separators.

    Keeping all is the stock model bitwise, over both steps.
    """
    rows = (0, 1)
    counts = model.adapter.counts_positions
    linear = any(kind_of(model.adapter.llm.config, layer) == LINEAR for layer in range(4))
    positions = "renumber" if counts else "keep"
    pruners = [*METHODS, PyramidDrop(budget=5, stages=[1, 2], budget_as="after", positions=positions)]
    pruners.append(replace(MUSTDROP, positions=positions))
    merging = SparseVLM(budget=5, stages=[1, 2, 3], budget_as="after")
    if counts:
        pruners.append(merging)
    else:
        with pytest.raises(SettingError, match="pruner=SparseVLM: expected a method that keeps positions"):
            answers(model, encoded, rows, merging)
    unpruned, *_ = answers(model, encoded, rows, NoPruning())
    for pruner in pruners:
        if linear and type(pruner) in NOT_LINEAR:
            with pytest.raises(SettingError, match=NOT_LINEAR[type(pruner)]):
                answers(model, encoded, rows, pruner)
            continue
        together, *_, prompt = answers(model, encoded, rows, pruner)
        shorter = int(prompt.arguments["attention_mask"].sum(dim=1).argmin())
        alone, (lengths,), held, single = answers(model, encoded, (shorter,), pruner)
        torch.testing.assert_close(together[shorter : shorter + 1], alone, atol=2e-4, rtol=1e-4)
        text = int(single.arguments["attention_mask"].sum()) - single.entering[0]
        config = model.adapter.llm.config
        windows = [window_of(config, layer) for layer in range(len(lengths))]
        assert held == [  # the next token fills a window; linear attention holds no tokens
            None if kind_of(config, layer) == LINEAR
            else min(length + text + 1, window - 1 if window else math.inf)
            for layer, (length, window) in enumerate(zip(lengths, windows, strict=True))
        ]  # fmt: skip
        kept, *_ = answers(model, encoded, rows, replace(pruner, budget=0.999999))
        assert torch.equal(kept, unpruned)


def test_a_grid_is_that_of_a_crop(model, family, encoded):
    """FEATHER takes every third row and column of every crop; a picture that is scaled down has none."""
    pruner = Feather(budget=0.1, stages=[2, 3], budget_as="after")
    prompt, (image,) = pruned_images(model, encoded((0,), pruner.reads), pruner)
    rows, columns = image.visual.grid
    of_crop = [[row, column] for row in range(rows) for column in range(columns)]
    every = torch.tensor(of_crop * image.visual.projected.shape[0])
    assert torch.equal(prompt.known[0].grid, every[image.source[image.source >= 0]])
    answers(model, encoded, (0,), pruner)
    if family == "llava_onevision":
        with pytest.raises(SettingError, match="pruner=Feather: expected a method that needs no grid"):
            answers(model, encoded, (2,), Feather(budget=0.3, stages=[2, 3], budget_as="after"))


def test_the_towers_attention_is_that_of_each_token(model, encoded):
    """With more in the key set than stay, only tokens of the key set stay."""
    pruner = replace(MUSTDROP, budget=2)
    prompt, (image,) = pruned_images(model, encoded((0,), pruner.reads), pruner)
    every = image.visual.signals[SALIENCY].flatten(0, 1)[image.source[image.source >= 0]].float()
    assert torch.equal(prompt.known[0].tower[SALIENCY], every)
    with torch.inference_mode(), model.pruning_inside(prompt) as inside:
        model.prefill(prompt)
    left = inside.remaining[prompt.tokens].nonzero()[:, 0]
    count = math.ceil(0.3 * len(every))
    assert len(left) < count
    assert set(left.tolist()) <= set(every.sort(descending=True, stable=True).indices[:count].tolist())

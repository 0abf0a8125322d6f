"""Pruning at several layers in LLMs with sliding windows and with positions on three axes."""

from __future__ import annotations

import pytest
import torch
from layer_llms import llava, qwen, qwen_inputs, qwen_rows
from layer_reference import (
    LAYERS,
    NEW_TOKENS,
    PRUNERS,
    VISUAL,
    check,
    generate,
    held,
    llava_inputs,
    llava_row,
)

from script_exp.pruners import Pyramid


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attention(request):
    return request.param


@pytest.mark.parametrize("family", ["qwen2", "mistral"])
@pytest.mark.parametrize(
    "pruner", [PRUNERS[0], PRUNERS[4], Pyramid(budget=30, stages=[1, 3], budget_as="after")], ids=str
)
def test_sliding_windows(attention, family, pruner):
    """Layers of both kinds, each with the mask of its kind at the length that it has.

    The last pruner keeps tokens outside the window, that is with the lowest score, as padding has.
    """
    model, window = llava(family, attention)
    inputs = llava_inputs()
    output = generate(model, inputs, pruner)
    rows = [llava_row(model, inputs, row) for row in range(2)]
    check(model, output, rows, [pruner.schedule(VISUAL, LAYERS)] * 2, window)


@pytest.mark.parametrize("pruner", PRUNERS[::2], ids=str)
def test_qwen_equals_the_reference(attention, pruner):
    """Positions on three axes, and images of different size in one batch."""
    model, inputs = qwen(attention), qwen_inputs()
    output = generate(model, inputs, pruner)
    rows = qwen_rows(model, inputs)
    schedules = [pruner.schedule(int(row.visual.sum()), LAYERS) for row in rows]
    check(model, output, rows, schedules)
    kept = max(
        schedule[max(schedule)] + int((~row.visual).sum())
        for schedule, row in zip(schedules, rows, strict=True)
    )
    assert held(output)[-1] == kept + NEW_TOKENS - 1


def test_qwen_keeping_all_is_the_unpruned_model_bitwise(attention):
    model, inputs = qwen(attention), qwen_inputs()
    pruned = generate(model, inputs, Pyramid(budget=0.999999, budget_as="after"))
    plain = model.generate(
        **inputs,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert torch.equal(pruned.sequences, plain.sequences)
    for one, other in zip(pruned.logits, plain.logits, strict=True):
        assert torch.equal(one, other)

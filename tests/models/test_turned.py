"""What is read of an LLM with positions, against its own kernel and against the angles: in GLM-4.1V neighbors
make a pair and part of a head has no positions; in Qwen2-VL the halves of a whole head make pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from families import build, picture, pruned_rows

from script_exp.models.attention_rows import attention_inputs
from script_exp.pruners import FastV, NoPruning
from script_exp.pruners.contract.layer_signals import Rows, States

STAGE = 2
KEYS, ROW = States("own_keys"), Rows("last", own=True)
ONES = {of: States("ones", of) for of in ("visual", "text")}
READ = {}


@dataclass(kw_only=True)
class Reader(FastV):
    """Keeps what it reads."""

    def reads_at(self, stage):
        return frozenset([KEYS, ROW, *ONES.values()])

    def select(self, state, count):
        READ.update(state.signals)
        return torch.arange(count)


def angles(model, prompt):
    """(tokens, pairs) the angle of each pair of places, by the axis of its frequency."""
    llm = model.adapter.llm
    rope = llm.config.rope_parameters
    pairs = sum(rope["mrope_section"])
    axis = torch.arange(3).repeat_interleave(torch.tensor(rope["mrope_section"]))
    frequencies = rope["rope_theta"] ** (-torch.arange(pairs) / pairs)
    return prompt.arguments["position_ids"][1:, 0].float()[axis].T * frequencies


@pytest.mark.parametrize(("family", "pairs", "still"), [("glm4v", 3, 2), ("qwen2_vl", 4, 0)])
def test_keys_rows_and_ones_have_the_models_own_positions(tmp_path, family, pairs, still):
    model, seen = build(family, tmp_path), []
    row = [([picture(84, 112)], 0)]
    whole, _ = pruned_rows(model, row, NoPruning())
    own = model.adapter.llm.layers[STAGE].self_attn
    with attention_inputs(own, lambda query, key, mask, scaling: seen.append((query, key))):
        model.prefill(whole)
    (query, key), visual = seen[0], whole.tokens[0]
    prompt, _ = pruned_rows(model, row, Reader(budget=5, layer=STAGE, budget_as="after"))
    with model.pruning_inside(prompt):
        model.prefill(prompt)
    torch.testing.assert_close(READ[KEYS], key[0].transpose(0, 1).flatten(1)[visual])
    every = key[0].repeat_interleave(query.shape[1] // key.shape[1], dim=0)
    attended = (query[0, :, -1:] @ every.mT * own.scaling).softmax(dim=-1)[:, 0]
    torch.testing.assert_close(READ[ROW], attended[:, visual], atol=1e-5, rtol=1e-4)
    turned = angles(model, whole)
    assert turned.shape[1] == pairs
    last = int(visual.nonzero().max())
    text, seen_from = turned[last + 1 :, None], turned[visual][None]
    far = 2 * (text - seen_from).cos().sum(dim=-1) + still
    torch.testing.assert_close(READ[ONES["text"]] @ READ[ONES["visual"]].mT, far, atol=1e-4, rtol=1e-4)

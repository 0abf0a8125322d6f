"""FasterVLM keeps the patches with the highest attention of the class token, as eager attention has it."""

from __future__ import annotations

import pytest
import torch
from made_tokens import made_tokens
from small_llava import batch

from script_exp.models.tower_layers import bare_tower, used_tower_layers
from script_exp.pruners import FasterVLM
from script_exp.pruners.contract.signals import SALIENCY


@pytest.mark.parametrize(("n", "k"), [(2, 1), (30, 7), (30, 29)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_sorting(n, k, seed):
    visual = made_tokens(n, crops=3, seed=seed)
    rows = visual.signals[SALIENCY].tolist()
    wanted = [sorted(sorted(range(n), key=lambda i, row=row: (-row[i], i))[:k]) for row in rows]
    assert FasterVLM(budget=k)(visual).indices.tolist() == wanted


def test_keeps_the_top_of_the_attention_row_that_the_tower_computes(llava):
    inputs, _ = batch(llava, 2)
    pruner = FasterVLM(budget=40)
    images = llava.encode_images(inputs, pruner.reads)
    tower = bare_tower(llava.model)
    layer = tower.encoder.layers[used_tower_layers(llava.model.config) - 1]
    seen = []
    handle = layer.self_attn.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs.get("hidden_states", *args[:1])), with_kwargs=True
    )
    llava.encode_images(inputs)
    handle.remove()
    attention = layer.self_attn
    heads, width = attention.num_heads, attention.head_dim
    (states,) = seen
    query, key = (proj(states).unflatten(-1, (heads, width)) for proj in (attention.q_proj, attention.k_proj))
    for image, ask, keys in zip(images, query, key, strict=True):
        rows = [(keys[:, head] @ ask[0, head] * width**-0.5).softmax(dim=0) for head in range(heads)]
        attended = torch.stack(rows).mean(dim=0)[1:]
        wanted = attended.topk(40).indices.sort().values
        assert torch.equal(pruner(image.visual).indices[0], wanted)


def test_the_model_has_to_be_asked_for_it():
    with pytest.raises(ValueError, match="needs Signal"):
        FasterVLM(budget=2)(made_tokens(9, signals=()))

"""Pruning inside LLMs with a rope for each kind of layer, capped scores, or masks of their own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from checkpoints import IMAGE, sharpen
from layer_llms import SHAPE, WINDOW
from layer_reference import GRID, LAYERS, VISUAL, generate, llava_inputs
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3TextConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from script_exp.errors import UserError
from script_exp.models.layer_hooks import layer_pruning
from script_exp.pruners import FastV, Pyramid
from script_exp.pruners.contract.layer_signals import Rows

KINDS = ["sliding_attention", "sliding_attention", "full_attention"] * 2
GEMMA = {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": WINDOW, "layer_types": KINDS}


def ropes(full, sliding):
    thetas = {"full_attention": full, "sliding_attention": sliding}
    return {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()}


TEXTS = {
    "two ropes": Gemma3TextConfig(**SHAPE, **GEMMA, rope_parameters=ropes(3.0, 1e5)),
    "capped": Gemma2Config(**SHAPE, **GEMMA, attn_logit_softcapping=0.7),
}


def llava(name):
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=4 * GRID,
        patch_size=4,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=TEXTS[name], image_token_index=IMAGE, image_seq_length=VISUAL
    )
    torch.manual_seed(0)
    return sharpen(LlavaForConditionalGeneration._from_config(config, attn_implementation="eager"))


@dataclass(kw_only=True)
class OwnRow(FastV):
    """Ranks by the row of the stage's own first layer."""

    def reads_at(self, stage):
        return frozenset([Rows("last", own=True)])


def one_kind(llm, kind, hidden, positions):
    several = type(llm).__name__.startswith("Gemma3")
    return llm.rotary_emb(hidden, positions, *([kind] if several else []))


@torch.inference_mode()
def slow(model, inputs, schedule, own):
    """Last logits of one prompt: every layer alone, ranked by what the eager kernel says it attends to."""
    llm, entered = model.model.language_model, []
    hook = llm.layers[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    model(**inputs)
    hook.remove()
    (hidden,) = entered
    visual = inputs["input_ids"][0] == IMAGE
    alive = torch.arange(len(visual))
    weights = None
    for index, layer in enumerate(llm.layers):
        if index in schedule:
            row = alone(llm, layer, KINDS[index], hidden, alive)[1] if own else weights
            columns = visual[alive].nonzero()[:, 0]
            order = row[0, :, -1, columns].mean(dim=0).argsort(descending=True, stable=True)
            stay = torch.ones(len(alive), dtype=torch.bool)
            stay[columns[order[schedule[index] :]]] = False
            hidden, alive = hidden[:, stay], alive[stay]
        hidden, weights = alone(llm, layer, KINDS[index], hidden, alive)
    return model.lm_head(llm.norm(hidden))[:, -1]


def alone(llm, layer, kind, hidden, alive):
    """Output and attention (1, heads, size, size) of a layer on the tokens that are left."""
    size, seen = hidden.shape[1], []
    distance = torch.arange(size)[:, None] - torch.arange(size)
    hide = (distance < 0) | (distance >= (WINDOW if kind == "sliding_attention" else size))
    mask = torch.zeros(size, size).masked_fill(hide, -torch.inf)[None, None]
    hook = layer.self_attn.register_forward_hook(lambda _, __, output: seen.append(output[1]))
    output = layer(hidden, attention_mask=mask, position_embeddings=one_kind(llm, kind, hidden, alive[None]))
    hook.remove()
    return output, seen[0]


@pytest.mark.parametrize("name", TEXTS)
def test_every_layer_keeps_its_own_rope_and_its_own_scores(name):
    model, inputs = llava(name), llava_inputs(1)
    visual = inputs["input_ids"] == IMAGE
    for pruner in (
        Pyramid(budget=5, stages=[1, 3], budget_as="after"),
        OwnRow(budget=5, layer=2, budget_as="after"),  # the first layer of the other kind
    ):
        wanted = slow(model, inputs, pruner.schedule(VISUAL, LAYERS), isinstance(pruner, OwnRow))
        with torch.inference_mode(), layer_pruning(model.model.language_model, pruner, visual, [1]):
            logits = model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
        torch.testing.assert_close(logits, wanted, atol=2e-4, rtol=1e-4)


def test_masks_that_the_model_makes_itself_are_not_taken_for_a_static_cache():
    model, inputs = llava("two ropes"), llava_inputs(1)
    llm, visual = model.model.language_model, inputs["input_ids"] == IMAGE
    pruner = FastV(budget=5, budget_as="after")
    size = visual.shape[1]
    mask = torch.ones(1, 1, size, size, dtype=torch.bool).tril()
    for own in (mask, dict.fromkeys(KINDS, mask)):
        with layer_pruning(llm, pruner, visual, [1]), pytest.raises(UserError, match="masks of its own"):
            llm(inputs_embeds=torch.zeros(1, size, 48), attention_mask=own)
    with pytest.raises(UserError, match="a static one fixes every layer's length"):
        generate(model, inputs, pruner, cache_implementation="static")

"""A slow reference for pruning inside the LLM: no hooks, no cache, one row at a time.

Includes small prompts to compare on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from checkpoints import BOS, IMAGE, PAD
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from script_exp.models.layer_hooks import layer_pruning
from script_exp.pruners import FastV, Pyramid

GRID, LAYERS, NEW_TOKENS = 6, 6, 9
VISUAL = GRID**2
TEXTS = [([BOS, 6, 7], [9, 10, 11, 12]), ([BOS, 8], [20, 9])]  # before and behind the image
PRUNERS = [
    Pyramid(budget=4, budget_as="after"),
    Pyramid(budget=22),
    Pyramid(budget=1, stages=[1, 2, 3, 4, 5], budget_as="after"),
    Pyramid(budget=20, stages=[2, 5], budget_as="after"),
    FastV(budget=9, layer=3, budget_as="after"),
]


@dataclass
class Row:
    """One prompt without padding: embeddings (1, n, d), visual (n,) and position ids (..., 1, n)."""

    embeddings: Tensor
    visual: Tensor
    positions: Tensor


def llava_inputs(rows=2, images=1):
    """A left-padded batch; row r has ``images`` images in front of its text."""
    prompts = [before + [IMAGE] * (VISUAL * images) + after for before, after in TEXTS[:rows]]
    pixels = torch.randn(rows * images, 3, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(1))
    return padded(prompts) | {"pixel_values": pixels}


def padded(prompts):
    length = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (length - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return {"input_ids": ids, "attention_mask": mask}


@torch.inference_mode()
def llava_row(model, inputs, row, images=1):
    ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
    visual = ids == IMAGE
    embeddings = model.get_input_embeddings()(ids)
    if visual.any():
        pixels = inputs["pixel_values"][row * images : (row + 1) * images]
        embeddings[visual] = torch.cat(list(model.model.get_image_features(pixels).pooler_output))
    return Row(embeddings[None], visual, torch.arange(len(ids))[None])


@torch.inference_mode()
def reference(model, row, new, schedule, window=None):
    """Logits (steps, vocabulary) after the prompt and after each of the ids ``new`` but the last.

    One pass over the prompt and ``new`` together: attention is causal, so each position is what a pass that
    stops there would give. The ranking reads the row of the prompt's last token.

    Args:
        schedule: visual tokens that stay from a layer on.
        window: (layers,) sliding window of each layer, or None; it counts the tokens that are left.
    """
    llm = model.model.language_model
    prompt, new = len(row.visual), new[:-1]
    hidden = torch.cat([row.embeddings, model.get_input_embeddings()(new)[None]], dim=1)
    following = row.positions.amax() + 1 + torch.arange(len(new)).expand(*row.positions.shape[:-1], -1)
    positions = torch.cat([row.positions, following], dim=-1)
    alive = torch.arange(prompt + len(new))  # columns of the whole sequence that are left
    taken = []  # what each layer got
    for index, block in enumerate(llm.layers):
        if index in schedule:
            weights = rank(llm.layers[index - 1], *taken[-1])
            places = row.visual[alive[: len(weights)]].nonzero()[:, 0]
            order = weights[places].argsort(descending=True, stable=True)  # a window hides some: all 0
            stay = torch.ones(len(alive), dtype=torch.bool)
            stay[places[order[schedule[index] :]]] = False
            alive, hidden = alive[stay], hidden[:, stay]
        size = hidden.shape[1]
        distance = torch.arange(size)[:, None] - torch.arange(size)
        hidden_keys = (distance < 0) | (distance >= (window[index] if window and window[index] else size))
        mask = torch.zeros(size, size).masked_fill(hidden_keys, -torch.inf)[None, None]
        rotary = llm.rotary_emb(hidden, positions[..., alive])
        taken.append((hidden, rotary, mask, int((alive < prompt).sum())))
        hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
    return model.lm_head(llm.norm(hidden))[0, -len(new) - 1 :]


def rank(block, hidden, rotary, mask, prompt):
    """Attention of the prompt's last token, mean over heads, (prompt,)."""
    attention = block.self_attn
    normed = block.input_layernorm(hidden)
    shape = (1, normed.shape[1], -1, attention.head_dim)
    query = attention.q_proj(normed).view(shape).transpose(1, 2)
    key = attention.k_proj(normed).view(shape).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query[0] @ key[0].mT * attention.head_dim**-0.5 + mask[0]
    return scores.softmax(dim=-1)[:, prompt - 1, :prompt].mean(dim=0)


def generate(model, inputs, pruner, visual=None, crops=None, **more):
    visual = inputs["input_ids"] == IMAGE if visual is None else visual
    crops = [1] * len(visual) if crops is None else crops
    with torch.inference_mode(), layer_pruning(model.model.language_model, pruner, visual, crops):
        return model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **more,
        )


def check(model, output, rows, schedules, window=None):
    """The generated ids and the logits at every step against the reference."""
    for index, (row, schedule) in enumerate(zip(rows, schedules, strict=True)):
        new = output.sequences[index, -NEW_TOKENS:]
        wanted = reference(model, row, new, schedule, window)
        assert new.tolist() == wanted.argmax(dim=-1).tolist()
        got = torch.stack([step[index] for step in output.logits])
        torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)


def held(output):
    return [layer.keys.shape[2] for layer in output.past_key_values.layers]

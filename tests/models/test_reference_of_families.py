"""Pruning inside the LLM of newer families against a slow reference: no hooks, no cache, one row at a time.

The LLMs of the older families have theirs in ``test_layer_stages*.py``.
"""

from __future__ import annotations

import sys

import pytest
import torch
from families import QUESTIONS, build, visuals

from script_exp.pruners import FastV, NoPruning, Pyramid, PyramidDrop

NEW = 9
FAMILIES = ["qwen3_vl", "internvl", "qwen2_vl", "qwen3_vl_moe", "smolvlm", "idefics3", "glm4v", "mistral3"]
FAMILIES.append("paligemma")
CASES = [("qwen3_vl", "eager"), *((family, "sdpa") for family in FAMILIES), ("paligemma2", "eager")]
CASES += [("gemma3_window", "sdpa"), ("gemma3_window", "eager")]
SMALLEST = torch.finfo(torch.float32).min


def prompt_of(model, rows, questions, pruner):
    inputs = model.preprocess(rows, [model.chat_prompt(question) for question in questions])
    return model.prune(inputs, model.encode_images(inputs), pruner)


def entering(model, arguments):
    """What the decoder is called with."""
    seen = {}
    handle = model.adapter.llm.register_forward_pre_hook(
        lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True
    )
    with torch.inference_mode():
        model.model(**arguments, use_cache=True, logits_to_keep=1)
    handle.remove()
    return seen


@torch.inference_mode()
def reference(model, prompt, new, schedule, own):
    """Logits after the prompt (one row, unpruned) and after each of the ids ``new`` but the last.

    One pass over the prompt and ``new`` together. At the layers in ``schedule``, the attention of the layer
    before ranks, or that of the stage's ``own`` layer.
    """
    llm, seen = model.adapter.llm, entering(model, prompt.arguments)
    length, new = prompt.tokens.shape[1], new[:-1]
    visual = prompt.tokens[0]
    hidden = torch.cat([seen["inputs_embeds"], model.model.get_input_embeddings()(new)[None]], dim=1)
    places = seen.get("position_ids")
    places = torch.arange(length)[None] if places is None else places[-3:]
    following = places.amax() + 1 + torch.arange(len(new))
    places = torch.cat([places, following.expand(*places.shape[:-1], -1)], dim=-1)
    alive, before = torch.arange(length + len(new)), None
    family = model.model.config.model_type
    block = torch.zeros(length + len(new), dtype=torch.bool)  # what sees each other in both directions
    block[:length] = visual if family == "gemma3" else family == "paligemma"
    for index, layer in enumerate(llm.layers):
        if index in schedule:
            columns = visual[alive[alive < length]].nonzero()[:, 0]
            if own:
                scores = attention(layer, *taken(llm, hidden, places, alive, length, index, block))
            else:
                scores = attention(llm.layers[index - 1], *before)
            order = scores[columns].argsort(descending=True, stable=True)
            stay = torch.ones(len(alive), dtype=torch.bool)
            stay[columns[order[schedule[index] :]]] = False
            alive, hidden = alive[stay], hidden[:, stay]
        before = taken(llm, hidden, places, alive, length, index, block)
        _, rotary, mask, _ = before
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        for level, column in zip(rows_of(seen, index), visual.nonzero()[:, 0], strict=False):
            hidden[0, alive == column] += level
    logits = model.model.lm_head(llm.norm(hidden))[0, -len(new) - 1 :]
    return capped(logits, getattr(llm.config, "final_logit_softcapping", None))


def capped(scores, cap):
    return scores if cap is None else (scores / cap).tanh() * cap


def taken(llm, hidden, places, alive, length, index, block):
    """What a layer gets: states, rotary embeddings, causal mask, and the prompt's length of what is left."""
    distance = torch.arange(len(alive))[:, None] - torch.arange(len(alive))
    kind = (getattr(llm.config, "layer_types", None) or [""] * (index + 1))[index]
    far = (distance >= llm.config.sliding_window) if kind == "sliding_attention" else torch.tensor(False)
    same = block[alive][:, None] & block[alive]
    two_ropes = llm.config.model_type == "gemma3_text"
    hide = far | (distance < 0) & ~same if two_ropes else (far | (distance < 0)) & ~same
    mask = torch.zeros(distance.shape).masked_fill(hide, SMALLEST)[None, None]
    own = (kind,) if two_ropes else ()
    return hidden, llm.rotary_emb(hidden, places[..., alive], *own), mask, int((alive < length).sum())


def rows_of(seen, index):
    """What DeepStack adds after a layer, by visual token."""
    levels = seen.get("deepstack_visual_embeds") or []
    return levels[index] if index < len(levels) else []


def attention(layer, hidden, rotary, mask, length):
    """(length,) what the prompt's last token attends to: mean over the heads."""
    own = layer.self_attn
    normed = layer.input_layernorm(hidden)
    shape = (1, normed.shape[1], -1, own.head_dim)
    query, key = own.q_proj(normed).view(shape), own.k_proj(normed).view(shape)
    if hasattr(own, "q_norm"):
        query, key = own.q_norm(query), own.k_norm(key)
    rotate = sys.modules[type(own).__module__].apply_rotary_pos_emb
    query, key = rotate(query.transpose(1, 2), key.transpose(1, 2), *rotary)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query[0] @ key[0].mT * own.scaling
    scores = capped(scores, getattr(own, "attn_logit_softcapping", None)) + mask[0]
    return scores.softmax(dim=-1)[:, length - 1, :length].mean(dim=0)


@pytest.mark.parametrize(("family", "kernel"), CASES)
def test_inside_the_llm(family, kernel, tmp_path):
    """Stages before, among and after the layers that add something; a padded batch; beams; keeping all."""
    model = build(family, tmp_path, attention=kernel)
    rows, questions = visuals(family)[:2], QUESTIONS[:2]
    plain = [prompt_of(model, [row], [own], NoPruning()) for row, own in zip(rows, questions, strict=True)]
    settings = {"max_new_tokens": NEW, "do_sample": False}
    for pruner in (
        FastV(budget=5, layer=1, budget_as="after"),
        PyramidDrop(budget=4, stages=[2, 3], budget_as="after", positions="keep"),
        Pyramid(budget=3, stages=[1, 2, 3], budget_as="after"),
    ):
        prompt = prompt_of(model, rows, questions, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            output = model.model.generate(
                **prompt.arguments, **settings, output_logits=True, return_dict_in_generate=True
            )
        for row, alone in enumerate(plain):
            new = output.sequences[row, -NEW:]
            schedule = model.schedule(pruner, prompt.entering[row], prompt.budget_crops[row])
            wanted = reference(model, alone, new, schedule, isinstance(pruner, PyramidDrop))
            assert new.tolist() == wanted.argmax(dim=-1).tolist()
            got = torch.stack([step[row] for step in output.logits])
            torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)
    beams = []
    for own in [(rows, questions), (rows[:1], questions[:1])]:
        prompt = prompt_of(model, *own, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            beams.append(model.model.generate(**prompt.arguments, **settings, num_beams=2)[0, -NEW:])
    assert torch.equal(*beams)
    every = prompt_of(model, rows, questions, Pyramid(budget=0.999999, stages=[1, 2], budget_as="after"))
    with torch.inference_mode():
        with model.pruning_inside(every):
            kept = model.prefill(every).logits
        assert torch.equal(kept, model.prefill(prompt_of(model, rows, questions, NoPruning())).logits)

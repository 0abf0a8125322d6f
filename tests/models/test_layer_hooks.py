"""Pruning inside the LLM, against a slow reference without hooks or cache, one row at a time."""

from __future__ import annotations

import pytest
import torch
from checkpoints import save_llava
from small_llava import QUESTIONS, batch, load
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from script_exp.models.attention_rows import last_row_attention
from script_exp.pruners import FastV, NoPruning

NEW_TOKENS = 6


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attention(request):
    return request.param


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def model(request, attention, tmp_path_factory):
    folder = save_llava(tmp_path_factory.mktemp("model"), kv_heads=request.param, seed=3)
    return load(folder, attention=attention)


def slow_fastv(model, ids, features, layer, keep, steps):
    """Greedy ids and last logits; the whole sequence runs anew for each token, the choice is made once."""
    llm, visual = model.adapter.llm, ids == model.adapter.placeholder_id
    prompt, rows, logits = len(ids), None, None
    for _ in range(steps):
        hidden = model.model.get_input_embeddings()(ids[None])
        hidden[0, :prompt][visual] = features
        positions = torch.arange(len(ids))
        for index, block in enumerate(llm.layers):
            rotary = llm.rotary_emb(hidden, positions[None])
            if index == layer - 1 and rows is None:
                rows = choose(block, hidden, rotary, visual, keep)
            if index == layer:
                stay = torch.cat([rows, torch.arange(prompt, len(ids))])
                hidden, positions = hidden[:, stay], positions[stay]
                rotary = llm.rotary_emb(hidden, positions[None])
            causal = torch.full((hidden.shape[1],) * 2, -torch.inf).triu(1)[None, None]
            hidden = block(hidden, attention_mask=causal, position_embeddings=rotary)
        logits = model.model.lm_head(llm.norm(hidden)[:, -1])[0]
        ids = torch.cat([ids, logits.argmax()[None]])
    return ids[-steps:], logits


def choose(block, hidden, rotary, visual, keep):
    """Rows of the prompt that stay: all text, and the visual tokens that the last token attends to most."""
    attention = block.self_attn
    normed = block.input_layernorm(hidden)
    shape = (1, normed.shape[1], -1, attention.head_dim)
    query = attention.q_proj(normed).view(shape).transpose(1, 2)
    key = attention.k_proj(normed).view(shape).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    weights = (query[0, :, -1:] @ key[0].mT * attention.head_dim**-0.5).softmax(dim=-1)[:, 0].mean(dim=0)
    stay = ~visual
    stay[weights.masked_fill(~visual, -1).topk(keep).indices] = True
    return stay.nonzero()[:, 0]


@pytest.mark.parametrize(("layer", "keep"), [(1, 40), (2, 64), (3, 1), (2, 576)])
@pytest.mark.parametrize("rows", [1, 3])
def test_generation_equals_the_slow_reference(model, layer, keep, rows):
    inputs, _ = batch(model, rows)
    images = model.encode_images(inputs)
    prompt = model.prune(inputs, images, FastV(budget=keep, layer=layer, budget_as="after"))
    with torch.inference_mode(), model.pruning_inside(prompt):
        ids = model.model.generate(
            **prompt.arguments,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    for row in range(rows):
        own = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        with torch.inference_mode():
            wanted, logits = slow_fastv(model, own, images[row].packed, layer, keep, NEW_TOKENS)
        assert ids.sequences[row, -NEW_TOKENS:].tolist() == wanted.tolist()
        torch.testing.assert_close(ids.logits[-1][row], logits, atol=2e-4, rtol=1e-4)


def test_nothing_stays_behind(model):
    inputs, _ = batch(model, 1)
    images = model.encode_images(inputs)
    everything = model.prune(inputs, images, NoPruning())
    before = model.prefill(everything).logits
    prompt = model.prune(inputs, images, FastV(budget=8, layer=1, budget_as="after"))

    def fail():
        with model.pruning_inside(prompt):
            model.prefill(prompt)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not model.adapter.llm._forward_pre_hooks
    assert not any(layer._forward_pre_hooks for layer in model.adapter.llm.layers)
    assert torch.equal(model.prefill(everything).logits, before)


def test_the_row_is_the_models_own_attention(model, attention):
    """Against output_attentions of the same model with the eager kernel, padded rows included."""
    inputs, _ = batch(model, 3)
    images = model.encode_images(inputs)
    prompt = model.prune(inputs, images, NoPruning())
    rows = []
    with last_row_attention(model.adapter.llm.layers[1].self_attn, rows.append):
        model.prefill(prompt)
    model.model.set_attn_implementation("eager")
    with torch.inference_mode():
        output = model.model(**prompt.arguments, output_attentions=True)
    model.model.set_attn_implementation(attention)
    torch.testing.assert_close(rows[0], output.attentions[1][:, :, -1], atol=1e-6, rtol=1e-4)


def test_questions_have_unequal_lengths():
    assert len({len(question.split()) for question in QUESTIONS}) == len(QUESTIONS)

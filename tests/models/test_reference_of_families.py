"""Pruning inside the LLM of every family against a slow reference: no hooks, no cache, one row at a time."""

from __future__ import annotations

from functools import partial

import layer_reference
import pytest
import torch
from families import EVERY, QUESTIONS, build, visuals
from layer_methods import dart, fitprune, himap, next_layer, none, pact, sparsevlm, sparsevlm_plus, v2drop
from layer_reference import Row, capped, fastv

from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    Composed,
    FastV,
    FitPrune,
    Graph,
    HiMAP,
    NoPruning,
    Pyramid,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)

NEW = 9
CASES = [*((family, None) for family in EVERY), ("qwen3_vl", "eager"), ("gemma3_window", "eager")]
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
def reference(model, prompt, new, schedule, choose, renumber):
    """Logits after the prompt (one row, unpruned) and after each of the ids ``new`` but the last."""
    llm, seen = model.adapter.llm, entering(model, prompt.arguments)
    visual, length = prompt.tokens[0], prompt.tokens.shape[1]
    places = seen.get("position_ids")
    places = torch.arange(length)[None] if places is None else places[-3:]
    image = prompt.arguments["input_ids"][0] == model.adapter.placeholder_id
    row = Row(seen["inputs_embeds"], visual, places, seen.get("deepstack_visual_embeds") or (), image)
    family = model.model.config.model_type
    block = torch.zeros(length + len(new), dtype=torch.bool)  # what sees each other in both directions
    block[:length] = visual if family == "gemma3" else family == "paligemma"
    logits = layer_reference.reference(
        model.model, row, new, schedule, None, choose, renumber, llm, partial(shape, llm, block)
    )
    return capped(logits, llm.config, "final_logit_softcapping")


def shape(llm, block, hidden, positions, alive, index):
    """Rotary embeddings and mask of a layer: with its window, its rope, and blocks that see themselves."""
    distance = torch.arange(len(alive))[:, None] - torch.arange(len(alive))
    kind = (getattr(llm.config, "layer_types", None) or [""] * (index + 1))[index]
    far = (distance >= llm.config.sliding_window) if kind == "sliding_attention" else torch.tensor(False)
    same = block[alive][:, None] & block[alive]
    two_ropes = llm.config.model_type == "gemma3_text"
    hide = far | (distance < 0) & ~same if two_ropes else (far | (distance < 0)) & ~same
    mask = torch.zeros(distance.shape).masked_fill(hide, SMALLEST)[None, None]
    own = (kind,) if two_ropes else ()
    return llm.rotary_emb(hidden, positions, *own), mask


def methods(model):
    """Pruners for at least four layers, with what they do, slowly, and whether positions count anew.

    The rest needs places or signals of the vision tower: they are compared on LLaVA and Qwen2.5-VL.
    """
    after = {"budget_as": "after"}
    found = [
        (FastV(budget=5, layer=1, **after), fastv, False),
        (PyramidDrop(budget=4, stages=[2, 3], positions="keep", **after), next_layer, False),
        (Pyramid(budget=3, stages=[1, 2, 3], **after), fastv, False),
        (HiMAP(budget=5, stages=[1, 2], **after), himap, False),
        (FitPrune(budget=0.2, **after), fitprune, False),
        (V2Drop(budget=0.5, stages=[1, 2, 3]), v2drop, False),
        (VTW(budget=0.5), none, False),
        (DART(budget=5, layer=2, **after), dart, False),
        (PACT(budget=5, layer=2, **after), pact, False),
    ]
    if model.adapter.counts_positions:
        found += [
            (PyramidDrop(budget=4, stages=[2, 3], **after), next_layer, True),
            (SparseVLM(budget=5, stages=[1, 2, 3], **after), sparsevlm, True),
            (SparseVLMPlus(budget=5, stages=[1, 2, 3], heads=2, **after), sparsevlm_plus, False),
        ]
    return found


@pytest.mark.parametrize(("family", "kernel"), CASES)
def test_inside_the_llm(family, kernel, tmp_path):
    """Stages before, among and after the layers that add something; a padded batch; beams; keeping all."""
    model = build(family, tmp_path, attention=kernel)
    rows, questions = visuals(family)[:2], QUESTIONS[:2]
    plain = [prompt_of(model, [row], [own], NoPruning()) for row, own in zip(rows, questions, strict=True)]
    settings = {"max_new_tokens": NEW, "do_sample": False}
    for pruner, choose, renumber in methods(model):
        prompt = prompt_of(model, rows, questions, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            output = model.model.generate(
                **prompt.arguments, **settings, output_logits=True, return_dict_in_generate=True
            )
        for row, alone in enumerate(plain):
            new = output.sequences[row, -NEW:]
            schedule = model.schedule(pruner, prompt.entering[row], prompt.budget_crops[row])
            wanted = reference(model, alone, new, schedule, choose, renumber)
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


@pytest.mark.parametrize("family", EVERY)
def test_after_a_method_before_the_llm(family, tmp_path):
    """What is inside sees what entered, as a prompt that was always that short."""
    model = build(family, tmp_path)
    rows, questions = visuals(family)[:2], QUESTIONS[:2]
    first, then = Graph(budget=0.5), DART(budget=1, layer=2)
    whole = Composed(budget=0.3, expansion=5 / 3, budget_as="after", before=first, inside=then)
    prompt = prompt_of(model, rows, questions, whole)
    with torch.inference_mode(), model.pruning_inside(prompt):
        output = model.model.generate(
            **prompt.arguments, max_new_tokens=NEW, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    for row, own in enumerate(zip(rows, questions, strict=True)):
        entered = prompt_of(model, *([part] for part in own), first)
        new = output.sequences[row, -NEW:]
        lengths = model.visual_by_layer(
            whole, prompt.before[row], prompt.entering[row], prompt.budget_crops[row]
        )
        wanted = reference(model, entered, new, {2: lengths[2]}, dart, False)
        assert int(entered.tokens.sum()) == lengths[0] > lengths[2]
        assert new.tolist() == wanted.argmax(dim=-1).tolist()
        got = torch.stack([step[row] for step in output.logits])
        torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)

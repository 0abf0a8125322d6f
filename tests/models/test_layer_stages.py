"""Pruning at several layers, against a slow reference without hooks or cache, one row at a time."""

from __future__ import annotations

import pytest
import torch
from checkpoints import BOS, IMAGE, PAD, save_llava
from flop_counter import counted
from layer_reference import (
    GRID,
    LAYERS,
    NEW_TOKENS,
    PRUNERS,
    TEXTS,
    VISUAL,
    check,
    generate,
    held,
    llava_inputs,
    llava_row,
    padded,
    reference,
)
from transformers import LlavaForConditionalGeneration

from script_exp.errors import SettingError, UserError
from script_exp.measure import flops
from script_exp.models import layer_hooks
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.layer_hooks import layer_pruning
from script_exp.pruners import FastV, Pyramid


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attention(request):
    return request.param


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def model(request, attention, tmp_path_factory):
    return llava(tmp_path_factory, request.param, attention)


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def eager(request, tmp_path_factory):
    """The FLOP counter sees the eager kernel; the CPU's fused one has no formula."""
    return llava(tmp_path_factory, request.param, "eager")


def llava(tmp_path_factory, kv_heads, attention):
    folder = tmp_path_factory.mktemp("model")
    save_llava(folder, grid=GRID, layers=LAYERS, kv_heads=kv_heads, seed=3)
    return LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation=attention).eval()


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
@pytest.mark.parametrize("rows", [1, 2])
def test_generation_equals_the_reference(model, pruner, rows):
    inputs = llava_inputs(rows)
    output = generate(model, inputs, pruner)
    schedule = pruner.schedule(VISUAL, LAYERS)
    check(model, output, [llava_row(model, inputs, row) for row in range(rows)], [schedule] * rows)
    text = inputs["input_ids"].shape[1] - VISUAL + NEW_TOKENS - 1
    assert held(output) == [visual + text for visual in pruner.lengths(VISUAL, LAYERS)]


@pytest.mark.parametrize("pruner", PRUNERS[:2], ids=str)
def test_rows_of_a_batch_equal_single_rows(model, pruner):
    """The second row has no image, and keeps all it has."""
    inputs = llava_inputs()
    text = [BOS, 6, 7, 8, 9, 10]
    mixed = padded([TEXTS[0][0] + [IMAGE] * VISUAL + TEXTS[0][1], text])
    mixed["pixel_values"] = inputs["pixel_values"][:1]
    together = generate(model, mixed, pruner, crops=[1, 0])
    rows = [llava_row(model, mixed, row) for row in range(2)]
    check(model, together, rows, [pruner.schedule(VISUAL, LAYERS), {}])
    alone = generate(model, llava_inputs(1), pruner)
    plain = model.generate(**padded([text]), max_new_tokens=NEW_TOKENS, do_sample=False)
    assert together.sequences[0, -NEW_TOKENS:].tolist() == alone.sequences[0, -NEW_TOKENS:].tolist()
    assert together.sequences[1, -NEW_TOKENS:].tolist() == plain[0, -NEW_TOKENS:].tolist()


def test_keeping_all_is_the_unpruned_model_bitwise(model):
    inputs = llava_inputs()
    pruned = generate(model, inputs, Pyramid(budget=VISUAL))
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


@pytest.mark.parametrize("budget_as", ["average", "after"])
def test_one_stage_is_fastv_bitwise(model, budget_as):
    inputs = llava_inputs()
    fastv = generate(model, inputs, FastV(budget=20, layer=2, budget_as=budget_as))
    pyramid = generate(model, inputs, Pyramid(budget=20, stages=[2], budget_as=budget_as))
    assert held(fastv) == held(pyramid)
    for one, other in zip(fastv.logits, pyramid.logits, strict=True):
        assert torch.equal(one, other)


def test_beams_have_the_scores_that_the_reference_gives_them(model):
    inputs, pruner = llava_inputs(), PRUNERS[0]
    beams = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 0.0, "output_scores": True}
    output = generate(model, inputs, pruner, **beams)
    for index, sequence in enumerate(output.sequences):
        new = sequence[-NEW_TOKENS:]
        row = llava_row(model, inputs, index // 3)
        logits = reference(model, row, new, pruner.schedule(VISUAL, LAYERS))
        score = logits.log_softmax(dim=-1).gather(1, new[:, None]).sum()
        torch.testing.assert_close(output.sequences_scores[index], score, atol=1e-3, rtol=1e-4)
    single = {name: tensor[1:, ...] for name, tensor in inputs.items()}
    single |= {name: single[name][:, -len(row.visual) :] for name in ("input_ids", "attention_mask")}
    alone = generate(model, single, pruner, **beams)
    assert torch.equal(alone.sequences[:, -NEW_TOKENS:], output.sequences[3:, -NEW_TOKENS:])


def test_rows_are_read_at_prefill_alone(model, monkeypatch):
    read = []

    def counted(layer, receive):
        return attention_inputs(layer, lambda *given: (read.append(layer), receive(*given)))

    attention_inputs = layer_hooks.attention_inputs
    monkeypatch.setattr(layer_hooks, "attention_inputs", counted)
    generate(model, llava_inputs(), Pyramid(budget=3, stages=[1, 2, 5], budget_as="after"))
    assert read == [model.model.language_model.layers[index].self_attn for index in (0, 1, 4)]


@torch.inference_mode()
def test_a_second_padded_turn_goes_on_from_the_cache(model):
    """Three tokens for the first row and two for the second, in one forward pass."""
    inputs, pruner = llava_inputs(), PRUNERS[0]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    turn, turn_mask = torch.tensor([[6, 7, 8], [PAD, 9, 10]]), torch.tensor([[1, 1, 1], [0, 1, 1]])
    count = torch.cat([mask, turn_mask], dim=1).cumsum(dim=1).sub(1).clamp(min=0)
    length = ids.shape[1]
    with layer_pruning(model.model.language_model, pruner, ids == IMAGE, [1, 1]):
        first = model(**inputs, position_ids=count[:, :length], use_cache=True)
        second = model(
            input_ids=turn,
            attention_mask=torch.cat([mask, turn_mask], dim=1),
            position_ids=count[:, length:],
            past_key_values=first.past_key_values,
        )
    for index, tokens in enumerate(([6, 7, 8], [9, 10])):
        row = llava_row(model, inputs, index)
        wanted = reference(model, row, torch.tensor([*tokens, 0]), pruner.schedule(VISUAL, LAYERS))
        torch.testing.assert_close(second.logits[index, -len(tokens) :], wanted[1:], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("crops", "tokens"), [(5, None), (5, 30), (5, 40), (2, None)])
def test_counts_of_rows_that_do_not_divide_into_crops(model, crops, tokens):
    inputs = llava_inputs(1, images=2)
    visual, pruner = 2 * VISUAL, Pyramid(budget=3, budget_as="after")
    llm, marked = model.model.language_model, inputs["input_ids"] == IMAGE
    basis = None if tokens is None else [tokens]
    with torch.inference_mode(), layer_pruning(llm, pruner, marked, [crops], basis):
        output = model(**inputs, use_cache=True)
    lengths = pruner.row_lengths(visual, crops, LAYERS, tokens)
    assert lengths[0] == visual
    assert lengths[-1] == 3 * crops
    assert lengths[2] == crops * pruner.lengths((tokens or visual) // crops, LAYERS)[2]
    assert held(output) == [n + len(TEXTS[0][0] + TEXTS[0][1]) for n in lengths]


def test_all_of_a_crop_is_all_of_the_row(model):
    inputs = llava_inputs(1, images=2)
    llm, marked = model.model.language_model, inputs["input_ids"] == IMAGE
    with torch.inference_mode():
        plain = model(**inputs, use_cache=True)
        for crops, tokens, budget in ((5, None, 14), (5, 60, 12), (5, 80, 16), (0, None, 90)):
            basis = None if tokens is None else [tokens]
            with layer_pruning(llm, Pyramid(budget=budget), marked, [crops], basis):
                assert torch.equal(model(**inputs, use_cache=True).logits, plain.logits)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_flops_count_the_row_of_every_stage(eager, pruner):
    inputs, llm = llava_inputs(1), eager.model.language_model
    text = len(TEXTS[0][0] + TEXTS[0][1])
    shape = flops.PromptShape(1, tuple(pruner.lengths(VISUAL, LAYERS)), text, 0)
    stages = flops.prefill_stages(LlavaAdapter, eager.config, shape, layer=pruner.stage_layers(LAYERS))
    with layer_pruning(llm, pruner, inputs["input_ids"] == IMAGE, [1]):
        both = counted(lambda: eager(**inputs, use_cache=True, logits_to_keep=1))
    vision = counted(lambda: eager.model.get_image_features(inputs["pixel_values"]))
    assert stages["pruner"] > 0
    assert stages["llm"] + stages["lm_head"] + stages["pruner"] == both - vision


def test_nothing_stays_behind(model):
    inputs, llm = llava_inputs(), model.model.language_model
    plain = model(**inputs).logits

    def stop(*_):
        raise KeyboardInterrupt

    handle = llm.layers[2].mlp.register_forward_pre_hook(stop)  # while its attention row is being read
    with pytest.raises(KeyboardInterrupt):
        generate(model, inputs, Pyramid(budget=3, stages=[1, 3], budget_as="after"))
    handle.remove()
    for module in (llm, *llm.layers):
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert torch.equal(model(**inputs).logits, plain)


def test_what_does_not_fit_is_found_before_anything_runs(model):
    llm, marked = model.model.language_model, llava_inputs()["input_ids"] == IMAGE
    for pruner, crops, message in (
        (Pyramid(budget=4, stages=[2, 6]), [1, 1], "stages=6: expected a decoder layer from 1 to 5"),
        (FastV(budget=4, layer=6), [0, 0], "layer=6: expected a decoder layer from 1 to 5"),
        (Pyramid(budget=4), [1, 1], "budget=4: expected at least 13 as an average over 6 layers"),
        (Pyramid(budget=40), [0, 1], "budget=40: expected at most 36"),
    ):
        with pytest.raises(SettingError, match=message), layer_pruning(llm, pruner, marked, crops):
            pass


def test_layers_of_an_unknown_type(model, monkeypatch):
    llm = model.model.language_model
    monkeypatch.setattr(llm.config, "layer_types", ["chunked_attention"] * LAYERS, raising=False)
    with (
        pytest.raises(UserError, match="chunked_attention; expected full_attention or sliding_attention"),
        layer_pruning(llm, PRUNERS[0], llava_inputs()["input_ids"] == IMAGE, [1, 1]),
    ):
        pass

"""Every method inside the LLM against its slow, cacheless reference, over nine generated tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from checkpoints import BOS, IMAGE
from flop_counter import counted
from layer_llms import llava, qwen, qwen_inputs, qwen_rows
from layer_methods import METHODS
from layer_reference import (
    LAYERS,
    NEW_TOKENS,
    TEXTS,
    VISUAL,
    check,
    generate,
    held,
    llava_inputs,
    llava_row,
    made_known,
    padded,
    reference,
)

from script_exp.errors import SettingError, UserError
from script_exp.measure import flops
from script_exp.measure.kv_cache import kv_cache_bytes
from script_exp.measure.layer_flops import last_rows, read_operations, sizes_of
from script_exp.models.attention_rows import last_row_attention
from script_exp.models.budgets import check_renumbering
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.layer_hooks import layer_pruning
from script_exp.models.layer_reading import check_weighing
from script_exp.pruners import PyramidDrop, SparseVLM
from script_exp.pruners.contract.layer_signals import LAST_ROW

WITHOUT_RENUMBERING = [name for name, method in METHODS.items() if not method.renumber]
BEAMS = [("llama", name) for name in METHODS]
BEAMS += [
    (llm, name)
    for llm in ("mistral", "qwen2", "qwen3")  # windows in all layers, in some; norms of queries and keys
    for name in ("pyramiddrop", "sparsevlm_plus", "pact")
]


@pytest.fixture(scope="module", params=["llama", "qwen2", "mistral"])
def model_and_windows(request):
    """Grouped queries everywhere; full attention, windows in some layers, windows in all."""
    return llava(request.param)


@pytest.mark.parametrize("name", METHODS)
def test_generation_equals_the_reference(model_and_windows, name):
    """Two rows of unequal length in one batch, and the lengths of the caches."""
    model, windows = model_and_windows
    method, inputs = METHODS[name], llava_inputs()
    output = generate(model, inputs, method.pruner)
    rows = [llava_row(model, inputs, row) for row in range(2)]
    schedule = method.pruner.schedule(VISUAL, LAYERS)
    assert schedule
    check(model, output, rows, [schedule] * 2, windows, choose=method.choose, renumber=method.renumber)
    text = inputs["input_ids"].shape[1] - VISUAL + NEW_TOKENS - 1
    lengths = [visual + text for visual in method.pruner.lengths(VISUAL, LAYERS)]
    most = [
        window - 1 if window else length
        for window, length in zip(windows or [None] * LAYERS, lengths, strict=True)
    ]
    assert held(output) == [min(pair) for pair in zip(lengths, most, strict=True)]


@pytest.mark.parametrize("name", METHODS)
def test_a_row_without_an_image(name):
    """It keeps all it has beside a row that is pruned: nothing can be read of its visual tokens."""
    (model, _), pruner = llava("llama"), METHODS[name].pruner
    own = [BOS, 6, 7, 8, 9, 10]
    inputs = padded([TEXTS[0][0] + [IMAGE] * VISUAL + TEXTS[0][1], own])
    inputs["pixel_values"] = llava_inputs()["pixel_values"][:1]
    new = generate(model, inputs, pruner, crops=[1, 0]).sequences[1, -NEW_TOKENS:]
    plain = model.generate(**padded([own]), max_new_tokens=NEW_TOKENS, do_sample=False)
    assert torch.equal(new, plain[0, -NEW_TOKENS:])


@pytest.mark.parametrize("way", [{"prefill_chunk_size": 8}, {"use_cache": False}], ids=str)
def test_a_prompt_that_does_not_run_as_one_is_refused(way):
    (model, _), inputs = llava("llama"), llava_inputs(1)
    with pytest.raises(UserError, match="expected use_cache=True, and the whole prompt, alone, in one"):
        generate(model, inputs, METHODS["vtw"].pruner, **way)


@pytest.mark.parametrize("name", WITHOUT_RENUMBERING)
def test_positions_on_three_axes(name):
    """Images of unequal size in one batch of Qwen2.5-VL."""
    model, inputs, method = qwen(), qwen_inputs(), METHODS[name]
    output = generate(model, inputs, method.pruner)
    rows = qwen_rows(model, inputs)
    schedules = [method.pruner.schedule(int(row.visual.sum()), LAYERS) for row in rows]
    check(model, output, rows, schedules, choose=method.choose)


def test_positions_on_three_axes_cannot_be_renumbered():
    check_renumbering(PyramidDrop(budget=4), ADAPTERS["llava"])
    with pytest.raises(SettingError, match="positions=renumber: expected keep: positions of this model are"):
        check_renumbering(PyramidDrop(budget=4), ADAPTERS["qwen2_5_vl"])
    check_renumbering(PyramidDrop(budget=4, positions="keep"), ADAPTERS["qwen2_5_vl"])
    with pytest.raises(SettingError, match="pruner=SparseVLM: expected a method that keeps positions: posit"):
        check_renumbering(SparseVLM(budget=4), ADAPTERS["qwen2_5_vl"])


def test_a_kernel_without_a_mask_of_numbers_cannot_weigh():
    check_weighing("PACT", "eager")
    with pytest.raises(
        SettingError, match="attention=flash_attention_2: expected sdpa or eager: PACT weighs"
    ):
        check_weighing("PACT", "flash_attention_2")


@pytest.mark.parametrize(("llm", "name"), BEAMS)
def test_beams(llm, name):
    """Both beams of a padded batch have the scores that the reference gives their words."""
    (model, windows), method, inputs = llava(llm), METHODS[name], llava_inputs()
    schedule = method.pruner.schedule(VISUAL, LAYERS)
    beams = {"num_beams": 2, "num_return_sequences": 2, "length_penalty": 0.0, "output_scores": True}
    output = generate(model, inputs, method.pruner, **beams)
    for index, sequence in enumerate(output.sequences):
        new, row = sequence[-NEW_TOKENS:], llava_row(model, inputs, index // 2)
        choice = {"choose": method.choose, "renumber": method.renumber}
        logits = reference(model, row, new, schedule, windows, **choice).log_softmax(dim=-1)
        score = logits.gather(1, new[:, None]).sum()
        torch.testing.assert_close(output.sequences_scores[index], score, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_flops_and_the_cache(name):
    """The counter sees what the formulas say, and the cache has the bytes."""
    (model, _), method = llava("llama", "eager"), METHODS[name]
    inputs, schedule = llava_inputs(1), method.pruner.schedule(VISUAL, LAYERS)
    config, text = model.config.text_config, len(TEXTS[0][0] + TEXTS[0][1])
    lengths = method.pruner.lengths(VISUAL, LAYERS)
    inside = sum(
        flops.attention_row(config, lengths[at - 1] + text) for at in last_rows(method.pruner, schedule)
    )
    for number, stage in enumerate(sorted(schedule)):
        visual, asking = lengths[stage - 1], len(TEXTS[0][1])
        reads = method.pruner.reads_at(number) - {LAST_ROW}
        inside += read_operations(config, reads, visual + text, visual, asking)
        sizes = sizes_of(config, visual, schedule[stage], asking)
        inside += method.pruner.operations(number, sizes)
        inside += method.pruner.preparing_operations(sizes) if number == 0 else 0
    llm, marked, known = model.model.language_model, inputs["input_ids"] == IMAGE, [made_known(VISUAL)]
    with layer_pruning(llm, method.pruner, marked, [1], known=known):
        outputs = []
        both = counted(lambda: outputs.append(model(**inputs, use_cache=True, logits_to_keep=1)))
    every = [visual + text for visual in lengths]
    cached = sum(layer.keys.nbytes + layer.values.nbytes for layer in outputs[0].past_key_values.layers)
    assert kv_cache_bytes(config, every, 4) == cached
    vision = counted(lambda: model.model.get_image_features(inputs["pixel_values"]))
    decoder = flops.decoder(config, every) + flops.lm_head(config)
    assert inside == both - vision - decoder


@pytest.mark.parametrize("name", ["sparsevlm", "sparsevlm_plus"])
def test_a_first_stage_that_keeps_all_of_a_row_prepares_the_later_ones(name):
    """As where the model cuts off padding of the picture: the counts are those of a larger one."""
    (model, _), inputs, method = llava("llama"), llava_inputs(1), METHODS[name]
    pruner = replace(method.pruner, budget=34)
    schedule = pruner.row_schedule(VISUAL, 1, LAYERS, 48)
    assert schedule[1] == VISUAL > min(schedule.values())
    llm, visual = model.model.language_model, inputs["input_ids"] == IMAGE
    with torch.inference_mode(), layer_pruning(llm, pruner, visual, [1], [48]):
        output = model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    later = {layer: count for layer, count in schedule.items() if count < VISUAL}
    row = llava_row(model, inputs, 0)
    check(model, output, [row], [later], choose=method.choose, renumber=method.renumber)


def test_the_next_layers_row_is_what_its_kernel_computes():
    """With nothing dropped before it; and without a drop, new numbers are the old ones."""
    model, _ = llava("llama")
    llm, inputs, rows, seen = model.model.language_model, llava_inputs(), [], []

    class Watched(PyramidDrop):
        def select(self, state, count):
            (row,) = state.signals.values()
            seen.append(row)
            return super().select(state, count)

    with last_row_attention(llm.layers[2].self_attn, rows.append):
        plain = model(**inputs, use_cache=True).logits
    visual = inputs["input_ids"] == IMAGE
    with layer_pruning(llm, Watched(budget=35, stages=[2], budget_as="after"), visual, [1, 1]):
        model(**inputs, use_cache=True)
    for one, own, marked in zip(seen, rows[0], visual, strict=True):
        torch.testing.assert_close(one, own[:, marked], atol=1e-6, rtol=1e-4)
    with layer_pruning(llm, Watched(budget=VISUAL), visual, [1, 1]):
        assert torch.equal(model(**inputs, use_cache=True).logits, plain)
    assert len(seen) == 2

"""What is PaliGemma's own: its prompt, its kernels, the operations of its tower; rows of blocks of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from families import CONFIGS, VARIANTS, build, pruned_rows, visuals
from flop_counter import counted

from script_exp.errors import SettingError
from script_exp.measure import flops
from script_exp.measure.kv_cache import kv_cache_bytes
from script_exp.models.families.paligemma import PaliGemmaAdapter
from script_exp.models.loading.load import check_kernel
from script_exp.models.processing import Processing
from script_exp.pruners import FastV, NoPruning, Random
from script_exp.pruners.contract.layer_signals import Rows


@pytest.mark.parametrize("family", ["paligemma", "paligemma2"])
def test_prompt_and_operations(tmp_path, family):
    """Attention in both directions costs what is counted for causal attention: all pairs."""
    model = build(family, tmp_path, attention="eager")
    own = model.processing
    parts = own.tokenizer, own.image_processor, model.adapter, model.model.config, None
    asked = Processing.from_parts(*parts)
    object.__setattr__(asked, "conversation", "paligemma")
    mark, start = own.mark, own.tokenizer.bos_token
    assert asked.prompt("what?", "image", 2) == f"{mark}{mark}{start}answer en what?\n"
    rows = visuals(family)[:1]
    ids = asked.batch(model.adapter, rows, [asked.prompt("what?", "image")])["input_ids"][0].tolist()
    assert ids[:64] == [model.adapter.placeholder_id] * 64
    assert ids[64] == own.tokenizer.bos_token_id  # behind the image, and nowhere else
    assert ids.count(own.tokenizer.bos_token_id) == 1
    inputs = model.preprocess(rows, [asked.prompt("what?", "image")])
    total = counted(lambda: model.encode_images(inputs))
    assert sum(flops.vision_stages(type(model.adapter), model.model.config, 1).values()) == total
    prompt = model.prune(inputs, model.encode_images(inputs), Random(budget=5), keys=["0"])
    config, outputs = model.model.config.text_config, []
    llm = counted(lambda: outputs.append(model.prefill(prompt)))
    # within the window of 24 tokens, beyond which a cache holds less
    lengths = [len(ids) - 64 + 5] * config.num_hidden_layers
    assert flops.decoder(config, lengths) + flops.lm_head(config) == llm
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in outputs[0].past_key_values.layers)
    assert kv_cache_bytes(config, lengths, 4) == held


READ = {}
ROWS = [Rows(of, own, heads="each") for of in ("text", "visual") for own in (False, True)]


@dataclass(kw_only=True)
class Reader(FastV):
    """Keeps what it reads."""

    def reads_at(self, stage):
        return frozenset(ROWS)

    def select(self, state, count):
        READ.update(state.signals)
        return torch.arange(count)


@pytest.mark.parametrize("family", ["paligemma", "paligemma2", "gemma3_window"])
def test_rows_see_what_comes_later(tmp_path, family):
    """Those before the stage and the stage's own, against the weights that the stock model returns."""
    model = build(family, tmp_path, attention="eager")
    row = [(visuals(family)[0], 0)]
    whole, _ = pruned_rows(model, row, NoPruning())
    with torch.inference_mode():
        weights = model.model(**whole.arguments, output_attentions=True).attentions
    prompt, _ = pruned_rows(model, row, Reader(budget=5, layer=2, budget_as="after"))
    with model.pruning_inside(prompt):
        model.prefill(prompt)
    visual = whole.tokens[0]
    text = torch.arange(len(visual)) > int(visual.nonzero().max())
    for rows in ROWS:
        every = weights[2 if rows.own else 1][0]
        wanted = every[:, text if rows.of == "text" else visual][:, :, visual]
        torch.testing.assert_close(READ[rows], wanted, atol=1e-5, rtol=1e-4)
        assert (every[:, visual][:, :, visual].triu(1) > 0).any()
        if family != "gemma3_window":
            assert (every[:, visual][:, :, text] > 0).any()  # the question, which stands behind


def test_kernels_and_towers_that_do_not_fit():
    first, second = CONFIGS["paligemma"](), VARIANTS["paligemma2"]()
    check_kernel("sdpa", PaliGemmaAdapter, first.text_config)
    check_kernel("eager", PaliGemmaAdapter, second.text_config)
    with pytest.raises(SettingError, match="attention=sdpa: expected eager"):
        check_kernel("sdpa", PaliGemmaAdapter, second.text_config)
    with pytest.raises(SettingError, match="attention=flash_attention_2: expected sdpa or eager"):
        check_kernel("flash_attention_2", PaliGemmaAdapter, first.text_config)
    first.vision_config = CONFIGS["llava"]().vision_config
    with pytest.raises(SettingError, match=r"vision_config\.model_type=clip_vision_model: expected siglip"):
        PaliGemmaAdapter.check_config(first)

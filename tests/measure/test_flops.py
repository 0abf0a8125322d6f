"""The formulas against torch's counter, exactly, and the golden values of the 7B models."""

from __future__ import annotations

import pytest
import torch
from checkpoints import save_llava
from conftest import batch, load
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from script_exp.measure import flops
from script_exp.pruners import FastV, Graph, NoPruning, QueryConditioned

TEXT_TOKENS = 60


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def eager(request, tmp_path_factory):
    """The counter sees every matrix product of the eager kernel; the CPU's fused kernel has no formula."""
    model = load(save_llava(tmp_path_factory.mktemp("model"), kv_heads=request.param), attention="eager")
    model.query_encoder._text.set_attn_implementation("eager")
    return model


def counted(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("budget", [1, 64, 576])
def test_stages_equal_the_counter(eager, budget):
    inputs, questions = batch(eager, 1)
    images = eager.encode_images(inputs, with_joint=True)
    queries = eager.encode_queries(questions)
    pruner = QueryConditioned(budget=budget)
    prompt = eager.prune(inputs, images, pruner, queries)
    text = inputs["input_ids"].shape[1] - 576
    stages = flops.prefill_stages(
        eager.model.config,
        flops.PromptShape(1, (budget,) * 4, text, eager.query_tokens(questions[0])),
        text_encoder=eager.query_encoder.config,
        joint_width=eager.query_encoder.width,
        pruner=flops.count_pruner(pruner, images[0].visual, queries[0]),
    )
    vision = counted(lambda: eager.encode_images(inputs, with_joint=False))
    assert stages["vision_tower"] + stages["projector"] == vision
    query = counted(lambda: eager.encode_queries(questions))
    patches = counted(lambda: eager.encode_images(inputs, with_joint=True)) - vision
    assert stages["query_encoder"] == query + patches
    assert stages["llm"] + stages["lm_head"] == counted(lambda: eager.prefill(prompt))
    assert stages["pruner"] == counted(lambda: eager.prune(inputs, images, pruner, queries))


@pytest.mark.parametrize("layer", [1, 3])
def test_layer_pruning_equals_the_counter(eager, layer):
    inputs, _ = batch(eager, 1)
    images = eager.encode_images(inputs, with_joint=False)
    pruner = FastV(budget=50, layer=layer, budget_as="after")
    prompt = eager.prune(inputs, images, pruner)
    text = inputs["input_ids"].shape[1] - 576
    shape = flops.PromptShape(1, tuple(pruner.lengths(576, 4)), text, 0)
    stages = flops.prefill_stages(eager.model.config, shape, layer=layer)

    def prefill():
        with eager.pruning_inside(prompt):
            eager.prefill(prompt)

    assert stages["llm"] + stages["lm_head"] + stages["pruner"] == counted(prefill)


def test_kv_cache_bytes_are_what_is_held(eager):
    inputs, _ = batch(eager, 1)
    images = eager.encode_images(inputs, with_joint=False)
    for pruner in (NoPruning(), Graph(budget=70), FastV(budget=30, layer=2, budget_as="after")):
        prompt = eager.prune(inputs, images, pruner)
        text = inputs["input_ids"].shape[1] - 576
        lengths = [visual + text for visual in eager.visual_by_layer(prompt, 0)]
        with eager.pruning_inside(prompt):
            layers = eager.prefill(prompt).past_key_values.layers
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        assert flops.kv_cache_bytes(eager.model.config.text_config, lengths, 4) == held


@pytest.fixture(scope="module")
def llava_7b():
    """LLaVA-1.5-7B without weights."""
    text = LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    with torch.device("meta"):
        config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=31999)
        return LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")


@pytest.mark.parametrize(("visual", "total"), [(576, 8.856e12), (64, 2.020e12)])
def test_golden_values_of_llava_1_5_7b(llava_7b, visual, total):
    shape = flops.PromptShape(1, (visual,) * 32, TEXT_TOKENS, 0)
    assert sum(flops.prefill_stages(llava_7b.config, shape).values()) == pytest.approx(total, abs=0.5e9)


@pytest.mark.parametrize(("crops", "visual", "total"), [(5, 2880, 44.641e12), (5, 320, 7.028e12)])
def test_golden_values_of_llava_next_7b(llava_7b, crops, visual, total):
    """LLaVA-NeXT-7B has the same tower, projector and LLM; its crops go through the tower one by one."""
    shape = flops.PromptShape(crops, (visual,) * 32, TEXT_TOKENS, 0)
    assert sum(flops.prefill_stages(llava_7b.config, shape).values()) == pytest.approx(total, abs=0.5e9)


@pytest.mark.parametrize(("visual", "teraflops", "mebibytes"), [(2880, 41.650, 1440), (320, 4.198, 160)])
def test_visual_tokens_alone(llava_7b, visual, teraflops, mebibytes):
    config = llava_7b.config.text_config
    assert flops.decoder(config, [visual] * 32) == pytest.approx(teraflops * 1e12, abs=0.5e9)
    assert flops.kv_cache_bytes(config, [visual] * 32, 2) == mebibytes * 2**20


@torch.inference_mode()
def test_the_formula_equals_the_counter_at_full_size(llava_7b):
    pixels = torch.empty(1, 3, 336, 336, device="meta")
    embeddings = torch.empty(1, 64 + TEXT_TOKENS, 4096, device="meta")
    vision = counted(lambda: llava_7b.model.get_image_features(pixels))
    llm = counted(lambda: llava_7b(inputs_embeds=embeddings, use_cache=True, logits_to_keep=1))
    shape = flops.PromptShape(1, (64,) * 32, TEXT_TOKENS, 0)
    stages = flops.prefill_stages(llava_7b.config, shape)
    assert stages["vision_tower"] + stages["projector"] == vision
    assert stages["llm"] + stages["lm_head"] == llm

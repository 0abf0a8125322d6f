"""The FLOPs formulas, exactly as torch's counter, and the golden values of the 7B models."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from checkpoints import save_llava
from flop_counter import counted
from small_llava import batch, load
from transformers import (
    AutoModelForImageTextToText,
    CLIPTextConfig,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2_5_VLConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextConfig, Qwen3VLMoeTextModel
from transformers.vision_utils import get_vision_position_ids

from script_exp.measure import flops
from script_exp.measure.kv_cache import held_bytes, kv_cache_bytes
from script_exp.measure.pruner_flops import PrunerOperations
from script_exp.measure.tower_flops import tower_operations
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.models.tower_layers import unused_layers_skipped, used_tower_layers
from script_exp.models.tower_shape import TowerShape
from script_exp.pruners import FastV, Graph, NoPruning, QueryConditioned
from script_exp.pruners.contract.signals import Reads

TEXT_TOKENS = 60
GRIDS = ((1, 10, 18), (2, 8, 8), (1, 22, 34))


def _kind(name: str) -> tuple[str, str]:
    config = ARCHITECTURES[name]()
    return config.model_type, config.text_config.model_type


ONE_SIZE = list({_kind(name): name for name in ARCHITECTURES}.values())
"""One model of each family and kind of LLM, whose sizes differ in numbers alone."""
ON_IMAGES = [name for name in ARCHITECTURES if name.startswith("llava_") and "video" not in name]


def prefill_stages(config, *given, **settings):
    return flops.prefill_stages(ADAPTERS[config.model_type], config, *given, **settings)


def vision_stages(config, *given, modality="image", **settings):
    return flops.vision_stages(ADAPTERS[config.model_type].taking(modality), config, *given, **settings)


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def eager(request, tmp_path_factory):
    """The counter sees every matrix product of the eager kernel; the CPU's fused kernel has no formula."""
    model = load(save_llava(tmp_path_factory.mktemp("model"), kv_heads=request.param), attention="eager")
    model.query_encoder._text.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("budget", [1, 64, 576])
def test_stages_equal_the_counter(eager, budget):
    inputs, questions = batch(eager, 1)
    images = eager.encode_images(inputs, Reads(joint=True))
    queries = eager.encode_queries(questions)
    pruner = QueryConditioned(budget=budget)
    prompt = eager.prune(inputs, images, pruner, queries)
    text = inputs["input_ids"].shape[1] - 576
    stages = prefill_stages(
        eager.model.config,
        flops.PromptShape(1, (budget,) * 4, text, eager.query_tokens(questions[0])),
        tower_layers=used_tower_layers(eager.model.config),
        text_encoder=eager.query_encoder.config,
        joint_width=eager.query_encoder.width,
        pruner=PrunerOperations()(pruner, images[0].visual, queries[0]),
    )
    vision = counted(lambda: eager.encode_images(inputs))
    assert stages["vision_tower"] + stages["projector"] == vision
    query = counted(lambda: eager.encode_queries(questions))
    patches = counted(lambda: eager.encode_images(inputs, Reads(joint=True))) - vision
    assert stages["query_encoder"] == query + patches
    assert stages["llm"] + stages["lm_head"] == counted(lambda: eager.prefill(prompt))
    assert stages["pruner"] == counted(lambda: eager.prune(inputs, images, pruner, queries))


def test_the_segments_of_a_long_question_equal_the_counter(eager):
    question = "is the blue star left of the red ring? " * 9
    encoder, config = eager.query_encoder, eager.model.config.vision_config
    tokens = eager.query_tokens(question)
    assert tokens > encoder.config.max_position_embeddings
    formula = flops.query_encoder(encoder.config, encoder.width, config, 0, tokens)
    assert formula == counted(lambda: eager.encode_queries([question]))


@pytest.mark.parametrize("layer", [1, 3])
def test_layer_pruning_equals_the_counter(eager, layer):
    inputs, _ = batch(eager, 1)
    images = eager.encode_images(inputs)
    pruner = FastV(budget=50, layer=layer, budget_as="after")
    prompt = eager.prune(inputs, images, pruner)
    text = inputs["input_ids"].shape[1] - 576
    shape = flops.PromptShape(1, tuple(pruner.lengths(576, 4)), text, 0)
    stages = prefill_stages(eager.model.config, shape, layer=layer)

    def prefill():
        with eager.pruning_inside(prompt):
            eager.prefill(prompt)

    assert stages["llm"] + stages["lm_head"] + stages["pruner"] == counted(prefill)


def test_kv_cache_bytes_are_what_is_held(eager):
    inputs, _ = batch(eager, 1)
    images = eager.encode_images(inputs)
    for pruner in (NoPruning(), Graph(budget=70), FastV(budget=30, layer=2, budget_as="after")):
        prompt = eager.prune(inputs, images, pruner)
        text = inputs["input_ids"].shape[1] - 576
        lengths = [visual + text for visual in eager.visual_by_layer(pruner, 576, prompt.entering[0], 1)]
        with eager.pruning_inside(prompt):
            layers = eager.prefill(prompt).past_key_values.layers
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        assert kv_cache_bytes(eager.model.config.text_config, lengths, 4) == held


@cache
def on_meta(name):
    """The architecture at full width, without weights; a few layers, which are equal, stand for all."""
    config = ARCHITECTURES[name]()
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers = 2
    if text.to_dict().get("layer_types"):
        text.layer_types = text.layer_types[2:4]  # of Qwen3.5 one of each kind
    if name.startswith("llava"):
        vision.num_hidden_layers = 3
    elif name.startswith("qwen2_5"):
        vision.depth, vision.fullatt_block_indexes = 4, [2]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(
            config, attn_implementation="eager", dtype=torch.float32
        ).eval()
    if hasattr(text, "num_experts"):  # the default kernel asks how many tokens each expert has
        model.set_experts_implementation("batched_mm")
    return model


def count_projector(model, crops, tokens):
    vision = model.config.vision_config
    return counted(
        lambda: model.model.multi_modal_projector(
            torch.empty(crops, tokens, vision.hidden_size, device="meta")
        )
    )


@pytest.mark.parametrize(("visual", "total"), [(576, 8.856e12), (64, 2.020e12)])
def test_golden_values_of_llava_1_5_7b(visual, total):
    shape = flops.PromptShape(1, (visual,) * 32, TEXT_TOKENS, 0)
    stages = prefill_stages(ARCHITECTURES["llava_1_5_7b"](), shape)
    assert sum(stages.values()) == pytest.approx(total, abs=0.5e9)


@pytest.mark.parametrize(("visual", "total"), [(576, 8.840e12), (64, 2.004e12)])
def test_golden_values_of_llava_1_5_7b_without_the_unused_layer(visual, total):
    config = ARCHITECTURES["llava_1_5_7b"]()
    shape = flops.PromptShape(1, (visual,) * 32, TEXT_TOKENS, 0)
    stages = prefill_stages(config, shape, tower_layers=used_tower_layers(config))
    assert sum(stages.values()) == pytest.approx(total, abs=0.6e9)


@pytest.mark.parametrize(("crops", "visual", "total"), [(5, 2880, 44.641e12), (5, 320, 7.028e12)])
def test_golden_values_of_llava_next_7b(crops, visual, total):
    shape = flops.PromptShape(crops, (visual,) * 32, TEXT_TOKENS, 0)
    stages = prefill_stages(ARCHITECTURES["llava_next_7b"](), shape)
    assert sum(stages.values()) == pytest.approx(total, abs=0.5e9)


@pytest.mark.parametrize(("visual", "teraflops", "mebibytes"), [(2880, 41.650, 1440), (320, 4.198, 160)])
def test_visual_tokens_alone(visual, teraflops, mebibytes):
    config = ARCHITECTURES["llava_next_7b"]().text_config
    assert flops.decoder(config, [visual] * 32) == pytest.approx(teraflops * 1e12, abs=0.5e9)
    assert kv_cache_bytes(config, [visual] * 32, 2) == mebibytes * 2**20


@torch.inference_mode()
@pytest.mark.parametrize("name", ONE_SIZE)
def test_the_llm_equals_the_counter_at_full_size(name):
    model = on_meta(name)
    config = model.config.text_config
    embeddings = torch.empty(1, 64 + TEXT_TOKENS, config.hidden_size, device="meta")
    cache = DynamicCache(config=config)
    llm = counted(lambda: model(inputs_embeds=embeddings, past_key_values=cache, logits_to_keep=1))
    lengths = [64 + TEXT_TOKENS] * config.num_hidden_layers
    gated = ADAPTERS[model.config.model_type].gates_attention
    assert flops.decoder(config, lengths, gated=gated) + flops.lm_head(config) == llm
    assert kv_cache_bytes(config, lengths, 4) == held_bytes(cache)


@torch.inference_mode()
@pytest.mark.parametrize("setting", [{"mlp_only_layers": [0, 2]}, {"decoder_sparse_step": 2}], ids=str)
def test_experts_in_some_layers_equal_the_counter(setting):
    sizes = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 16}
    config = Qwen3VLMoeTextConfig(
        **sizes, **setting, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=8,
        num_experts_per_tok=2, vocab_size=100, attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        llm = Qwen3VLMoeTextModel(config).eval()
    llm.set_experts_implementation("batched_mm")
    embeddings = torch.empty(1, 12, 64, device="meta")
    assert flops.decoder(config, [12] * 4) == counted(lambda: llm(inputs_embeds=embeddings))


@torch.inference_mode()
@pytest.mark.parametrize("name", ON_IMAGES)
def test_three_crops_equal_the_counter_at_full_size(name):
    model = on_meta(name)
    vision = model.config.vision_config
    pixels = torch.empty(3, 3, vision.image_size, vision.image_size, device="meta")
    sizes = torch.tensor([[vision.image_size, 2 * vision.image_size]])
    inputs = (pixels,) if name.startswith("llava_1_5") else (pixels[None], sizes)
    stages = vision_stages(model.config, 3)
    assert stages["projector"] == count_projector(model, 3, 729 if name == "llava_onevision_7b" else 576)
    assert sum(stages.values()) == counted(lambda: model.model.get_image_features(*inputs))
    read = vision_stages(model.config, 3, tower_layers=used_tower_layers(model.config))
    with unused_layers_skipped(model):
        assert sum(read.values()) == counted(lambda: model.model.get_image_features(*inputs))


@torch.inference_mode()
@pytest.mark.parametrize(("name", "projected"), [("llava_next_video_7b", 144), ("llava_onevision_7b", 729)])
def test_three_frames_equal_the_counter_at_full_size(name, projected):
    model = on_meta(name)
    size = model.config.vision_config.image_size
    total = counted(lambda: model.model.get_video_features(torch.empty(1, 3, 3, size, size, device="meta")))
    stages = vision_stages(model.config, 3, modality="video")
    assert stages["projector"] == count_projector(model, 3, projected)
    assert stages["vision_tower"] + stages["projector"] == total


@torch.inference_mode()
@pytest.mark.parametrize("grids", [GRIDS[:1], GRIDS[1:2], GRIDS], ids=str)
def test_qwen_vision_equals_the_counter_at_full_size(grids):
    model = on_meta("qwen2_5_vl_7b")
    grid = torch.tensor(grids)
    patches = int(grid.prod(dim=1).sum())
    pixels = torch.empty(patches, 3 * 2 * 14 * 14, device="meta")
    positions = get_vision_position_ids(grid, 2).to("meta")
    total = counted(lambda: model.model.get_image_features(pixels, grid, position_ids=positions))
    merger = counted(lambda: model.model.visual.merger(torch.empty(patches, 1280, device="meta")))
    stages = vision_stages(model.config, len(grids), grids)
    assert stages["projector"] == merger
    assert stages["vision_tower"] + stages["projector"] == total


@torch.inference_mode()
def test_small_qwen_equals_the_counter_on_the_cpu():
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 48,
            "window_size": 56, "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": 50, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [2, 2, 2]},
        },
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").model
    patches = sum(t * h * w for t, h, w in GRIDS)
    pixels = torch.zeros(patches, 3 * 2 * 14 * 14)
    total = counted(lambda: model.get_image_features(pixels, torch.tensor(GRIDS)))
    assert sum(vision_stages(config, 3, GRIDS).values()) == total


@torch.inference_mode()
def test_a_wide_head_equals_the_counter():
    """The width of a head need not be the hidden width over the number of heads."""
    config = LlamaConfig(
        vocab_size=70, hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=20,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model, ids = LlamaForCausalLM(config), torch.zeros(1, 9, dtype=torch.long)
    total = counted(lambda: model(input_ids=ids, logits_to_keep=1))
    assert flops.decoder(config, [9, 9]) + flops.lm_head(config) == total
    assert flops.attention_row(config, 9) == 2 * 9 * 4 * 20


@torch.inference_mode()
@pytest.mark.parametrize("head", [False, True])
def test_the_pooling_head_of_siglip_equals_the_counter(head):
    config = SiglipVisionConfig(
        hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, image_size=33,
        patch_size=4, vision_use_head=head,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = SiglipVisionModel(config).eval()
    shape = TowerShape.of_square(config)
    assert tower_operations(shape, 2, ()) == counted(lambda: model(torch.zeros(2, 3, 33, 33)))


def test_prefill_stages_of_qwen_and_of_video():
    config = ARCHITECTURES["qwen2_5_vl_7b"]()
    shape = flops.PromptShape(1, (10,) * 28, TEXT_TOKENS, 0, grids=GRIDS[:1])
    stages = prefill_stages(config, shape)
    assert {stage: stages[stage] for stage in ("vision_tower", "projector")} == vision_stages(
        config, 1, GRIDS[:1]
    )
    config = ARCHITECTURES["llava_next_video_7b"]()
    shape = flops.PromptShape(8, (10,) * 32, TEXT_TOKENS, 12)
    clip = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
    stages = prefill_stages(config, shape, text_encoder=clip, joint_width=768)
    assert stages["projector"] == 2 * 8 * 144 * (1024 * 4096 + 4096 * 4096)
    assert stages["query_encoder"] == flops.query_encoder(clip, 768, config.vision_config, 8 * 144, 12)


def test_what_has_no_formula_is_an_error():
    for name in ("qwen2_5_vl_7b", "qwen3_vl_8b"):
        with pytest.raises(ValueError, match=r"crops=1: expected the \(t, h, w\) of every image"):
            vision_stages(ARCHITECTURES[name](), 1)

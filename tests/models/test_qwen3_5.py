"""What only Qwen3.5 has: layers of linear attention, and a template that lets the model think."""

from __future__ import annotations

import pytest
import torch
from families import build, picture, pruned_rows, save
from flop_counter import counted
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError, UserError
from script_exp.measure import flops
from script_exp.measure.kv_cache import kv_cache_bytes
from script_exp.measure.latency import LatencyInput, LatencyProtocol, measure_latency
from script_exp.measure.layer_flops import inside_operations
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.wanted import Wanted
from script_exp.models.question import bare_questions
from script_exp.pruners import Feather, Graph, NoPruning, PyramidDrop

BEHIND = (
    "stages at layers 4, 8, 12, 16, 20, 24, 28; at {} it reads layer {}, which is linear attention, where no"
)
REFUSED = {
    "fitprune": BEHIND.format(1, 0),
    "himap": BEHIND.format(2, 1),
    "sparsevlm_plus": BEHIND.format(3, 2),
    "pyramiddrop pruner.positions=keep": "stages at layers 3, 7, 11, 15, 19, 23, 27, 31; at 8 it reads layer",
    "pact": "a method that weighs no tokens: merged tokens would have to be weighed in a mask, and linear",
    "composed pruner.inside.layer=6": BEHIND.format(6, 5),
}
ALLOWED = ["fastv", "pyramid", "dart", "v2drop", "vtw", "feather", "himap pruner.stages=[4,8]", "composed"]


@pytest.fixture(scope="module")
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def prepared(overrides):
    given = ["model=qwen3_5_9b", "model.weights=random", "device=cpu", "dtype=float32", "budget=0.2"]
    config = compose("config", [*given, "unpruned=off", *f"pruner={overrides}".split()])
    return RunCell.prepare(RunSettings.from_config(config))


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_method_that_cannot_read_is_refused_before_anything_is_loaded(conf, overrides):
    """The message names the layers at which a stage finds what the method reads."""
    with pytest.raises(SettingError) as raised:
        prepared(overrides)
    assert f": expected {REFUSED[overrides]}" in str(raised.value)


@pytest.mark.parametrize("overrides", ALLOWED)
def test_the_others_are_not(conf, overrides):
    assert prepared(overrides).pruner is not None


def test_the_cache_and_the_time_of_each_stage(tmp_path):
    """States of linear attention stay in float32, and are as large for any prompt."""
    model = build("qwen3_5", tmp_path, torch.bfloat16)
    prompt = model.chat_prompt("what is it?")
    visuals = [picture(84, 112)]
    inputs = model.preprocess([visuals], [prompt])
    images, lengths = model.encode_images(inputs), {}
    pruners = {"unpruned": NoPruning(), "graph": Graph(budget=5)}
    found = measure_latency(
        model, [LatencyInput(visuals, prompt, "what?")], pruners, LatencyProtocol(0, 1, 1)
    )
    for name, pruner in pruners.items():
        lengths[name] = model.prune(inputs, images, pruner).arguments["input_ids"].shape[1]
        held = kv_cache_bytes(model.adapter.llm.config, [lengths[name]] * 4, 2)
        assert found[name].kv_cache_bytes == held
        assert found[name].stages.keys() >= {"vision", "llm", "decode_per_token"}
    keys_and_values = 2 * 2 * 16 * 2  # bytes of a token in a layer
    saved = found["unpruned"].kv_cache_bytes - found["graph"].kv_cache_bytes
    assert (
        saved == 2 * keys_and_values * (lengths["unpruned"] - lengths["graph"]) > 0
    )  # in two of four layers


def test_queries_are_projected_with_their_gates(tmp_path):
    """In the layers as they run, and once more for a stage's own first layer or without positions."""
    model = build("qwen3_5", tmp_path, attention="eager")
    config, after = model.model.config.text_config, {"budget_as": "after"}
    for pruner in (
        PyramidDrop(budget=5, stages=[1, 2], positions="keep", **after),
        Feather(budget=5, stages=[2, 3], **after),
    ):
        prompt, _ = pruned_rows(model, [([picture(84, 112)], 0)], pruner)
        text = prompt.arguments["input_ids"].shape[1] - prompt.before[0]
        lengths = [
            count + text for count in model.visual_by_layer(pruner, prompt.before[0], prompt.entering[0], 1)
        ]
        with model.pruning_inside(prompt):
            total = counted(lambda prompt=prompt: model.prefill(prompt))
        decoder = flops.decoder(config, lengths, gated=True) + flops.lm_head(config)
        assert inside_operations(model, prompt) == [total - decoder]


def test_the_template_is_asked_for_an_answer_without_thinking(tmp_path):
    processing = build("qwen3_5", tmp_path).processing
    template = "{{ messages[0]['content'][1]['text'] }}{% if enable_thinking is false %} at once{% endif %}"
    processing.tokenizer.chat_template = template
    assert processing.prompt("what?", "image") == "what? at once"


def test_the_question_of_a_prompt_in_the_users_hands(tmp_path):
    """With or without thoughts; a model's earlier turn has none."""
    model = build("qwen3_5", tmp_path)
    tokenizer = model.processing.tokenizer
    tokenizer.chat_template = (
        "{% for one in messages %}<s>{{ one.role }}: {{ one.content[-1].text }}</s>{% endfor %}<s>assistant: "
        "<think>{% if enable_thinking is false %} </think>{% endif %}"
    )
    said = (("user", "what?"), ("assistant", "a star"), ("user", "where?"))
    told = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
    image = torch.tensor([model.adapter.placeholder_id])
    for thoughts in ({}, {"enable_thinking": False}):
        given = {"add_generation_prompt": True, "return_dict": False, "return_tensors": "pt", **thoughts}
        one, several = (tokenizer.apply_chat_template(turns, **given)[0] for turns in (told[:1], told))
        assert bare_questions(model, torch.cat([image, one])[None]) == ["what?"]
        with pytest.raises(UserError, match="cannot find the question in the prompt"):
            bare_questions(model, torch.cat([image, several])[None])


def test_released_weights_have_a_part_that_predicts_several_tokens(tmp_path):
    """It is not part of the model, and not an error."""
    folder = save("qwen3_5", tmp_path)
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"mtp.fc.weight": torch.zeros(2)}, file, {"format": "pt"})
    assert find_checkpoint(Wanted(str(folder)), needs_query=False).layout == "huggingface"

"""Models whose parts are on several devices, as accelerate places them."""

from __future__ import annotations

import re

import pytest
import torch
from accelerate import dispatch_model, infer_auto_device_map
from families import CONFIGS, VARIANTS, build, pruned_rows, save, visuals
from transformers import AutoModelForImageTextToText

from script_exp.errors import SettingError, UserError
from script_exp.models.devices import device_of, devices_of
from script_exp.models.families.smolvlm import SmolVLMAdapter
from script_exp.models.loading import load
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.placement import check_placement, kept_whole
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import FastV, MMTok, NoPruning, PyramidDrop, Script, Trim

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def pruners(family):
    inside = [FastV(budget=4, layer=1, budget_as="after")]
    if family == "qwen2_5_vl":  # positions are places
        return [NoPruning(), Script(budget=5), MMTok(budget=5), *inside]
    renumbering = PyramidDrop(budget=4, stages=[1, 3], budget_as="after")
    return [NoPruning(), Script(budget=5), Trim(budget=5, aggregate=True), *inside, renumbering]


def outputs(model, family):
    for pruner in pruners(family):
        rows = [(own, row) for row, own in enumerate(visuals(family)[:2])]
        prompt, _ = pruned_rows(model, rows, pruner)
        with model.pruning_inside(prompt):
            first = model.prefill(prompt)
            yield first.logits, model.decode_step(first, prompt, 1).logits
        yield model.generate(prompt, 2).texts


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_offloaded_parts_compute_the_same_bitwise(family, tmp_path):
    """Between their runs, these parts have no weights: the first parameter and the embeddings are on meta."""
    model = build(family, tmp_path / "model")
    expected = list(outputs(model, family))
    names = [name for name, _ in model.model.model.named_children() if name != "language_model"]
    places = {f"model.{name}": "disk" for name in names} | {"lm_head": "cpu"}
    places |= {f"model.language_model.{name}": "cpu" for name in ("norm", "rotary_emb")}
    places |= {f"model.language_model.layers.{index}": "cpu" if index == 1 else "disk" for index in range(4)}
    places["model.language_model.embed_tokens"] = "disk"
    dispatch_model(model.model, places, main_device="cpu", offload_dir=tmp_path / "disk", force_hooks=True)
    assert model.model.device.type == model.model.get_input_embeddings().weight.device.type == "meta"
    assert model.device == device_of(model.model.get_input_embeddings()) == CPU
    assert devices_of(model.model) == [CPU]
    for found, wanted in zip(outputs(model, family), expected, strict=True):
        assert found == wanted if isinstance(found, list) else all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("family", ["smolvlm", "idefics3"])
def test_no_layer_of_a_tower_is_cut(family):
    """Wherever the first device ends; what stands on both sides of a residual cannot be added."""
    config = (CONFIGS | VARIANTS)[family]()
    cut = {}
    for names in ((), SmolVLMAdapter.whole):
        with kept_whole(config, names), torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        tower = sum(weights.nbytes for weights in model.model.vision_model.parameters())
        ends = range(0, 3 * tower, tower // 24)
        limits = ({"cpu": end, "disk": 10**12} for end in ends)
        whole = {"no_split_module_classes": [*model._no_split_modules]}
        parts = [part for limit in limits for part in infer_auto_device_map(model, limit, **whole)]
        assert any(re.search(r"vision_model\.encoder\.layers\.\d$", part) for part in parts)
        inside = r"vision_model\.(encoder\.layers\.\d|embeddings)\."
        cut[names] = [part for part in parts if re.search(inside, part)]
    assert cut[()]
    assert not cut[SmolVLMAdapter.whole]


def test_a_model_that_would_be_read_from_the_disk_again_and_again_is_refused(monkeypatch, tmp_path):
    checkpoint = find_checkpoint(Wanted(str(save("llava", tmp_path))), needs_query=False)
    given = {"device": CPU, "dtype": torch.float32, "attention": "sdpa"}
    whole = load.load_model(checkpoint, **given, placement="auto")  # on a CPU, all of it
    assert whole.device == CPU
    parts = [name for name, _ in whole.model.model.named_children() if name != "language_model"]
    inside = ["embed_tokens", "norm", "rotary_emb", *(f"layers.{index}" for index in range(4))]
    names = [
        "lm_head",
        *(f"model.{name}" for name in parts),
        *(f"model.language_model.{name}" for name in inside),
    ]
    places = dict.fromkeys(names, "cpu") | {"model.language_model.layers.3": "disk"}
    monkeypatch.setattr(load, "device_map", lambda placement, device: places)
    with pytest.raises(UserError, match=r"model\.path=.* does not fit into the memory of the GPUs"):
        load.load_model(checkpoint, **given, placement="auto")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": CPU}, "model.placement=auto: expected one_device with device=cpu"),
        ({"device": torch.device("cuda:1"), "named": "cuda:1"}, "device=cuda:1: expected auto or cuda with"),
        ({"layout": "random"}, "model.placement=auto: expected one_device with random weights"),
        (
            {"layout": "original"},
            "expected one_device with a checkpoint in LLaVA's original layout",
        ),
        ({"compiled": "default"}, "model.compile=default: expected off with model.placement=auto"),
    ],
)
def test_where_a_model_cannot_be_spread(changes, message):
    given = {"named": "auto", "device": GPU, "layout": "huggingface", "compiled": "off"} | changes
    check_placement("one_device", **given)
    with pytest.raises(SettingError, match=message):
        check_placement("auto", **given)

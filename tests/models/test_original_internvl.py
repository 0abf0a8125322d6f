"""InternVL in its authors' layout: the same parameters, prompt and pixels as in transformers' layout."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from accelerate import dispatch_model
from families import build, picture, pruned_rows, visuals
from safetensors.torch import save_file

from script_exp.errors import UserError
from script_exp.models.loading import load
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.placement import check_placement
from script_exp.models.loading.quantization import check_quantization
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import FastV, NoPruning

VISION = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 112, "patch_size": 14, "qkv_bias": False, "qk_normalization": False,
    "norm_type": "layer_norm", "hidden_act": "gelu", "layer_norm_eps": 1e-6,
}  # fmt: skip
NAMES = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.multi_modal_projector.layer_norm.": "mlp1.0.",
    "model.multi_modal_projector.linear_1.": "mlp1.1.",
    "model.multi_modal_projector.linear_2.": "mlp1.3.",
    "model.vision_tower.embeddings.cls_token": "vision_model.embeddings.class_embedding",
    "model.vision_tower.embeddings.position_embeddings": "vision_model.embeddings.position_embedding",
    "model.vision_tower.embeddings.patch_embeddings.projection.": "vision_model.embeddings.patch_embedding.",
    "model.vision_tower.encoder.layer.": "vision_model.encoder.layers.",
}
PARTS = {
    "attention.projection_layer": "attn.proj", "layernorm_before": "norm1", "layernorm_after": "norm2",
    "lambda_1": "ls1", "lambda_2": "ls2",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("internvl")


@pytest.fixture(scope="module")
def stock(folder):
    """A model in transformers' layout, whose weights are in ``folder`` in the authors'."""
    model = build("internvl", folder)
    tokenizer = model.processing.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<img>", "</img>", "<IMG_CONTEXT>"]})
    tokenizer.save_pretrained(folder)
    text = model.model.config.text_config.to_dict()
    raw = {
        "model_type": "internvl_chat",
        "llm_config": text,
        "vision_config": VISION,
        "downsample_ratio": 0.5,
    }
    raw |= {"ps_version": "v2", "select_layer": -1, "max_dynamic_patch": 6, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(raw))
    theirs = {}
    for name, values in model.model.state_dict().items():
        for new, old in NAMES.items():
            if name.startswith(new):
                name = old + name.removeprefix(new)
                break
        for new, old in PARTS.items():
            name = name.replace(new, old)
        theirs[name] = values.contiguous()
    for layer in range(3):
        parts = [f"vision_model.encoder.layers.{layer}.attention.{one}_proj.weight" for one in "qkv"]
        theirs[f"vision_model.encoder.layers.{layer}.attn.qkv.weight"] = torch.cat(
            [theirs.pop(part) for part in parts]
        )
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    return model


def found(folder):
    return find_checkpoint(Wanted(str(folder)), needs_query=False)


def test_it_is_the_same_model(stock, folder):
    checkpoint = found(folder)
    assert checkpoint.layout == "internvl"
    loaded = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32, attention="sdpa")
    own, wanted = dict(loaded.model.named_parameters()), dict(stock.model.named_parameters())
    assert own.keys() == wanted.keys()
    assert all(torch.equal(own[name], wanted[name]) for name in own)
    assert type(loaded.model) is type(stock.model)
    prompt = loaded.chat_prompt("what?")
    assert prompt == "<|im_start|>user\n<IMG_CONTEXT>\nwhat?<|im_end|>\n<|im_start|>assistant\n"
    inputs = loaded.preprocess([[picture(300, 400)]], [prompt])
    assert inputs["tile_grids"].prod() <= 6
    assert (inputs["input_ids"] == loaded.adapter.placeholder_id).sum() == 16 * len(inputs["pixel_values"])
    theirs = stock.adapter.random_image_processor(stock.model.config)
    pixels = theirs(picture(300, 400), crop_to_patches=True, max_patches=6, return_tensors="pt")
    assert torch.equal(inputs["pixel_values"], pixels["pixel_values"])


GIVEN = {"device": torch.device("cpu"), "dtype": torch.float32, "attention": "sdpa"}


def logits(model):
    for pruner in (NoPruning(), FastV(budget=4, layer=1, budget_as="after")):
        prompt, _ = pruned_rows(
            model, [(own, row) for row, own in enumerate(visuals("internvl")[:2])], pruner
        )
        with model.pruning_inside(prompt):
            yield model.prefill(prompt).logits


def test_it_can_be_spread(stock, folder, tmp_path, monkeypatch):
    """Parts on the host and on the disk compute the same bitwise; what lies on the disk is refused."""
    checkpoint = found(folder)
    check_placement("auto", "auto", torch.device("cuda"), checkpoint.layout, "off")
    layers = [f"model.language_model.layers.{index}" for index in range(4)]
    others = [f"model.language_model.{name}" for name in ("embed_tokens", "norm", "rotary_emb")]
    places = dict.fromkeys(
        [*others, *layers, "model.vision_tower", "model.multi_modal_projector", "lm_head"], "cpu"
    )
    monkeypatch.setattr(load, "device_map", lambda placement, device: places)
    model = load_model(checkpoint, **GIVEN, placement="auto")
    expected = list(logits(load_model(checkpoint, **GIVEN)))
    offloaded = places | dict.fromkeys([layers[0], "model.vision_tower"], "disk")
    dispatch_model(model.model, offloaded, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert model.model.get_parameter(f"{layers[0]}.mlp.up_proj.weight").is_meta
    assert all(map(torch.equal, logits(model), expected))
    for part in (layers[3], "model.vision_tower"):  # whose weights are converted while they are loaded
        places[part] = "disk"
        with pytest.raises(UserError, match=r"model\.path=.* does not fit into the memory of the GPUs"):
            load_model(checkpoint, **GIVEN, placement="auto")


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="no torchao")
def test_it_can_be_quantized(stock, folder):
    """As in transformers' layout: bitwise the same, of which the tests are in test_quantization.py."""
    checkpoint = found(folder)
    check_quantization("int8", checkpoint.config, checkpoint.layout, torch.device("cpu"), "off")
    model = load_model(checkpoint, **GIVEN, quantization="int8").model
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            inside = name.startswith("model.language_model.")
            assert hasattr(module.weight, "__tensor_flatten__") == inside, name
            assert inside or torch.equal(module.weight, stock.model.get_submodule(name).weight)


def test_it_is_no_config_for_random_weights(stock, folder):
    with pytest.raises(UserError, match="has InternVL's original layout: expected a transformers config"):
        find_checkpoint(Wanted(str(folder), weights="random"), needs_query=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"llm_config": {"model_type": "internlm2"}}, "model_type='internlm2' is not supported"),
        ({"llm_config": None}, "expected the config.json of an InternVL"),
        ({"select_layer": -4}, "expected select_layer=-1"),
        ({"vision_config": VISION | {"num_hidden_layers": 4}}, r"config.json \(missing: .* and \d+ more\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(stock, folder, tmp_path, change, message):
    raw = json.loads((folder / "config.json").read_text())
    for file in folder.iterdir():
        if file.name != "config.json":
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").write_text(json.dumps(raw | change))
    with pytest.raises(UserError, match=message):
        found(tmp_path)

"""Quantized weights: what is quantized, what stays, and what is refused before loading."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from families import EVERY, QUESTIONS, pruned_rows, save, stock, visuals
from transformers import AutoModelForImageTextToText
from transformers.quantizers.quantizers_utils import should_convert_module

from script_exp.errors import SettingError, UserError
from script_exp.measure.memory import peak_memory
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.quantization import check_quantization, packages_of, quantization_config
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import DivPrune, FastV, NoPruning

CPU, GPU = torch.device("cpu"), torch.device("cuda")
GIVEN = {"device": CPU, "dtype": torch.float32, "attention": "sdpa"}


def installed(monkeypatch, *names):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in names else None)


needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="no torchao")


@needs_torchao
def test_eight_bits_of_the_llm_alone(tmp_path):
    """Keeping all is the quantized stock model; a saved one loads again, and its tower is the plain one."""
    folder = save("llava", tmp_path / "plain")
    checkpoint = find_checkpoint(Wanted(str(folder)), needs_query=False)
    model, plain = load_model(checkpoint, **GIVEN, quantization="int8"), load_model(checkpoint, **GIVEN)
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            inside = name.startswith("model.language_model.")
            assert hasattr(module.weight, "__tensor_flatten__") == inside, name
            assert inside or torch.equal(module.weight, plain.model.get_submodule(name).weight)
    assert packages_of("int8", checkpoint.config) == ["torchao"]
    assert peak_memory(model.model, lambda: None) < peak_memory(plain.model, lambda: None)
    rows = [(visuals("llava")[0], 0)]
    chosen = []
    for one in (model, plain):
        prompt, images = pruned_rows(one, rows, DivPrune(budget=5))
        chosen.append((images[0].packed, prompt.kept[0].indices))
    assert all(map(torch.equal, *chosen))
    model.model.save_pretrained(tmp_path / "saved")
    for part in (model.processing.tokenizer, model.processing.image_processor):
        part.save_pretrained(tmp_path / "saved")
    saved = find_checkpoint(Wanted(str(tmp_path / "saved")), needs_query=False)
    again = load_model(saved, **GIVEN)
    for pruner in (NoPruning(), FastV(budget=4, layer=1, budget_as="after")):
        prompt, _ = pruned_rows(model, rows, pruner)
        with model.pruning_inside(prompt):
            logits = model.prefill(prompt).logits
        with again.pruning_inside(prompt):
            torch.testing.assert_close(logits, again.prefill(prompt).logits, atol=1e-5, rtol=1e-5)
    inputs = model.preprocess([rows[0][0]], [model.chat_prompt("what is it?")])
    given = {name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    with torch.no_grad():
        stock = model.model(**given, use_cache=True, logits_to_keep=1)
    whole = model.whole_prompt(inputs, model.encode_images(inputs))
    assert torch.equal(model.prefill(whole).logits, stock.logits)
    with pytest.raises(
        SettingError, match=r"quantization=int8: expected off: .* already quantized by torchao"
    ):
        check_quantization("int8", saved.config, "huggingface", CPU, "off")


@needs_torchao
@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl", "qwen3_vl"])
def test_eight_bits_in_other_families(family, tmp_path):
    """Keeping all is the quantized stock model, and a batch gives what its rows give."""
    checkpoint = find_checkpoint(Wanted(str(save(family, tmp_path))), needs_query=False)
    model = load_model(checkpoint, **GIVEN, quantization="int8")
    rows = [(own, row) for row, own in enumerate(visuals(family)[:2])]
    inputs = model.preprocess(visuals(family)[:2], [model.chat_prompt(text) for text in QUESTIONS[:2]])
    with torch.no_grad():
        expected = model.model(**stock(model, inputs), use_cache=True, logits_to_keep=1).logits
    assert torch.equal(model.prefill(pruned_rows(model, rows, NoPruning())[0]).logits, expected)
    logits = []
    for some in (rows, rows[1:]):
        prompt, _ = pruned_rows(model, some, FastV(budget=4, layer=1, budget_as="after"))
        with model.pruning_inside(prompt):
            logits.append(model.prefill(prompt).logits[-1])
    torch.testing.assert_close(*logits, atol=2e-4, rtol=1e-4)


@needs_torchao
@pytest.mark.parametrize("family", EVERY)
def test_all_linear_layers_of_the_llm_and_no_others(family):
    """By the names that the packages get, as they read them."""
    config = EVERY[family]()
    adapter = ADAPTERS[config.model_type]
    kept = quantization_config("int8", config, adapter, torch.float32).modules_to_not_convert
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    llm = adapter(model).llm
    assert all(model.get_submodule(name) is not llm for name in kept)
    assert "lm_head" in kept
    linear = {name: one for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)}
    converted = {one for name, one in linear.items() if should_convert_module(name, kept)}
    assert converted == {one for one in llm.modules() if isinstance(one, torch.nn.Linear)}
    assert len(converted) < len(linear) - 1
    assert all(converted.intersection(layer.modules()) for layer in llm.layers)


def test_quantized_checkpoints_that_cannot_be_loaded_are_refused(monkeypatch, tmp_path):
    folder = save("llava", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for method, message in (
        ("gptq", "quantized by gptq: expected torchao or bitsandbytes"),
        ("bitsandbytes", "quantized by bitsandbytes: expected pip install bitsandbytes"),
    ):
        own = {"quant_method": method, "load_in_4bit": True}
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": own}))
        installed(monkeypatch)
        with pytest.raises(UserError, match=rf"model\.path=.*: its weights are {message}"):
            find_checkpoint(Wanted(str(folder)), needs_query=False)
    installed(monkeypatch, "bitsandbytes")
    found = find_checkpoint(Wanted(str(folder)), needs_query=False)
    assert packages_of("off", found.config) == ["bitsandbytes"]
    check_quantization("off", found.config, "huggingface", GPU, "off")
    for change, message in (
        ({"device": CPU}, "device=cpu: expected a GPU: the weights of the checkpoint have 4 bits"),
        ({"layout": "random"}, "model.weights=random: expected pretrained: the config is of quantized"),
        ({"compiled": "default"}, "model.compile=default: expected off with quantized weights"),
    ):
        given = {"layout": "huggingface", "device": GPU, "compiled": "off"} | change
        with pytest.raises(SettingError, match=message):
            check_quantization("off", found.config, **given)


@pytest.mark.parametrize(
    ("quantization", "change", "message"),
    [
        ("int8", {"packages": ()}, "model.quantization=int8: expected off; or pip install torchao"),
        ("int4", {"packages": ("torchao",)}, "expected off; or pip install bitsandbytes"),
        ("int4", {"device": CPU}, "model.quantization=int4: expected int8 or off on a CPU"),
        ("int8", {"layout": "random"}, "model.quantization=int8: expected off with random weights"),
        (
            "int8",
            {"layout": "original"},
            "expected off with a checkpoint in LLaVA's original layout",
        ),
        ("int8", {"family": "qwen3_vl_moe"}, "expected off: most weights of this model are its experts'"),
        ("int8", {"family": "qwen3_5_moe_video"}, "expected off: most weights of this model are its"),
        ("int8", {"family": "internvl_moe"}, "expected off: most weights of this model are its experts'"),
        ("int8", {"compiled": "default"}, "model.compile=default: expected off with quantized weights"),
    ],
)
def test_what_cannot_be_quantized(monkeypatch, quantization, change, message):
    given = {"layout": "huggingface", "device": GPU, "compiled": "off"} | change
    installed(monkeypatch, *given.pop("packages", ("torchao", "bitsandbytes")))
    config = EVERY[given.pop("family", "llava")]()
    check_quantization("off", config, "huggingface", GPU, "default")
    with pytest.raises(SettingError, match=message):
        check_quantization(quantization, config, **given)

"""A compiled model computes the same: bitwise before code generation, up to rounding after it."""

from __future__ import annotations

import shutil
import sys
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from families import EVERY, TEXT, build, modality, visuals

from script_exp.cell.fit import check_here
from script_exp.errors import SettingError, UserError
from script_exp.models.compiled import check_compile, compile_prefill, forget_compiled, is_compiled
from script_exp.models.families.registry import ADAPTERS
from script_exp.pruners import NoPruning, Script
from script_exp.pruners.contract.signals import Reads

QUESTIONS = ["what is it?", "how many red stars are there in the picture?", "is it?"]
FAMILIES = ("llava", "llava_onevision", "qwen2_5_vl", "qwen2_vl", "glm4v", "mistral3", "internvl_moe")
"""One for each kind of decoder that can be compiled."""


@pytest.fixture(autouse=True)
def two_layers(monkeypatch):
    """Half of what the other tests have: tracing takes its time by the layer."""
    monkeypatch.setitem(TEXT, "num_hidden_layers", 2)


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def prompts(model, family):
    """The unpruned and the pruned prompt of every image, of unequal lengths, and their batch."""
    every = visuals(family)
    rows = [([images], [question]) for images, question in zip(every, QUESTIONS, strict=True)]
    for images, questions in [*rows, (every, QUESTIONS)]:
        inputs = model.preprocess(images, [model.chat_prompt(question) for question in questions])
        encoded = model.encode_images(inputs, Reads(joint=True))
        queries = model.encode_queries(questions)
        for pruner in (NoPruning(), Script(budget=6)):
            yield model.prune(inputs, encoded, pruner, queries)


def outputs(model, family):
    """Logits of the prefill, keys and values, logits of a decoded token, and the answer, of every prompt."""
    for prompt in prompts(model, family):
        output = model.prefill(prompt)
        cache = [part for layer in output.past_key_values.layers for part in (layer.keys, layer.values)]
        step = model.decode_step(output, prompt, 1)
        yield [output.logits, *cache, step.logits], model.generate(prompt, 3).texts


def check_same(got, expected):
    for (tensors, texts), (wanted, wanted_texts) in zip(got, expected, strict=True):
        assert all(map(torch.equal, tensors, wanted))
        assert texts == wanted_texts


def check_close(got, expected, **tolerance):
    for (tensors, _), (wanted, _) in zip(got, expected, strict=True):
        for tensor, other in zip(tensors, wanted, strict=True):
            torch.testing.assert_close(tensor, other, **tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_traced_is_bitwise_the_model(family, tmp_path):
    """Dynamo's graph run as it is: one trace of the whole LLM serves prompts of every length."""
    model = build(family, tmp_path)
    expected = list(outputs(model, family))
    traced = []

    def as_traced(graph, _):
        traced.append(graph)
        return graph.forward

    compile_prefill(model.adapter.llm, "default", as_traced)
    check_same(list(outputs(model, family)), expected)
    assert 1 <= len(traced) <= 2  # position ids are counted inside, or given by generate()
    masks = [node for graph in traced for node in graph.graph.nodes if "attn_mask" in node.kwargs]
    assert all(node.kwargs["attn_mask"] is None for node in masks)  # else there is no flash attention
    assert masks


def test_outputs_outlive_the_next_prefill(tmp_path):
    """As with CUDA graphs, whose replays write where the one before wrote."""
    model = build("llava_onevision", tmp_path)
    expected = list(outputs(model, "llava_onevision"))
    buffers: list[torch.Tensor] = []

    def graph_like(graph, _):
        def run(*inputs):
            for buffer in buffers:
                buffer.fill_(torch.nan)
            buffers[:] = graph.forward(*inputs)
            return buffers

        return run

    compile_prefill(model.adapter.llm, "default", graph_like)
    check_same(list(outputs(model, "llava_onevision")), expected)


def test_what_a_prefill_does_without_runs_as_before(tmp_path):
    model = build("llava_onevision", tmp_path)
    llm = model.adapter.llm
    prompt = torch.randn(1, 9, llm.config.hidden_size)
    with torch.no_grad():
        expected = llm(inputs_embeds=prompt, use_cache=True, output_hidden_states=True)
        assert not is_compiled(llm)
        compile_prefill(llm, "default", "eager")
        assert is_compiled(llm)
        got = llm(inputs_embeds=prompt, use_cache=True, output_hidden_states=True)
    assert len(got.hidden_states) == len(expected.hidden_states) == 3
    assert all(map(torch.equal, got.hidden_states, expected.hidden_states))


@pytest.mark.slow
def test_any_number_of_models_in_one_process(tmp_path):
    """Torch keeps eight compiled versions of one function, and the models that they are of."""
    gone = []
    for turn in range(10):
        model = build("llava_onevision", tmp_path / str(turn))
        compile_prefill(model.adapter.llm, "default", "eager")
        gone.append(weakref.ref(model.adapter.llm))
        del model
        forget_compiled()
        assert gone[-1]() is None


def test_a_compiler_that_fails_is_one_sentence(tmp_path):
    def broken(graph, _):
        raise RuntimeError("out of luck\nand a long explanation")

    model = build("llava_onevision", tmp_path)
    with pytest.raises(UserError, match=r"model\.compile=default: expected off; .*out of luck$"):
        compile_prefill(model.adapter.llm, "default", broken)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_generated_code(tmp_path):
    model = build("llava_onevision", tmp_path)
    expected = list(outputs(model, "llava_onevision"))
    compile_prefill(model.adapter.llm, "default")
    check_close(list(outputs(model, "llava_onevision")), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_on_a_gpu(mode, tmp_path):
    model = build("llava_onevision", tmp_path)
    model.model.cuda()
    expected = list(outputs(model, "llava_onevision"))
    compile_prefill(model.adapter.llm, mode)
    for _ in range(3):  # as it is, recorded, replayed
        check_close(list(outputs(model, "llava_onevision")), expected, rtol=1e-2, atol=1e-3)


class Llm:
    layer_types = ("full_attention",)
    sliding_window = None


class Sliding:
    layer_types = ("sliding_attention", "full_attention")


class Mistral:
    sliding_window = 4096


class Hybrid:
    layer_types = ("linear_attention", "full_attention")


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "attention", "in_llm", "expected"),
    [
        (Llm, "sdpa", True, "off: this pruner changes the LLM between its layers"),
        (Llm, "eager", False, "off with attention=eager; or attention=sdpa"),
        (Sliding, "sdpa", False, "off: the LLM of this model has a sliding window"),
        (Mistral, "sdpa", False, "off: the LLM of this model has a sliding window"),
        (Hybrid, "sdpa", False, "off: the LLM of this model has linear attention"),
    ],
)
def test_what_cannot_be_compiled(config, attention, in_llm, expected):
    check_compile("off", config, attention, CPU, in_llm)
    with pytest.raises(SettingError, match=f"model.compile=default: expected {expected}"):
        check_compile("default", config, attention, CPU, in_llm)


AHEAD = "tokens of this model's prompts see later ones"
DEEP = "the LLM of this model also takes deepstack_visual_embeds, visual_pos_masks"
REFUSED = {
    **dict.fromkeys(("paligemma", "paligemma2", "gemma3", "gemma3_window"), AHEAD),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_video", "qwen3_vl_moe"), DEEP),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe_video"), "the LLM of this model has linear attention"),
}


@pytest.mark.parametrize("family", EVERY)
def test_a_family_is_compiled_or_says_before_loading_why_not(family, monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)
    config = EVERY[family]()
    adapter = ADAPTERS[config.model_type].taking(modality(family))
    model = SimpleNamespace(compile="default", placement="one_device", quantization="off")
    attention = "eager" if family == "paligemma2" else "sdpa"
    settings = SimpleNamespace(model=model, attention=attention, device="cpu")
    checkpoint = SimpleNamespace(config=config, layout="transformers", adapter=adapter)
    if family in REFUSED:
        found = pytest.raises(SettingError, match=f"compile=default: expected off: {REFUSED[family]}$")
    else:
        assert type(config.text_config) in {type(EVERY[one]().text_config) for one in FAMILIES}
        found = nullcontext()
    with found:
        check_here(settings, Script(budget=6), checkpoint, CPU, torch.float32)


def test_arguments_of_its_own_are_refused_instead_of_running_uncompiled(tmp_path):
    """DeepStack's rows, for example, as Qwen3-VL's LLM takes them."""
    llm = build("llava_onevision", tmp_path).adapter.llm
    plain = llm.forward
    llm.forward = lambda inputs_embeds=None, deep=None, **kwargs: plain(inputs_embeds=inputs_embeds, **kwargs)
    with pytest.raises(SettingError, match=r"off: the LLM of this model also takes deep$"):
        compile_prefill(llm, "default", "eager")
    llm.forward = plain
    compile_prefill(llm, "default", "eager")
    with pytest.raises(UserError, match="masks of its own"):
        llm(inputs_embeds=torch.zeros(1, 3, 32), attention_mask={"full_attention": None})


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda", "CC")])
def test_without_a_compiler(monkeypatch, device, variable):
    monkeypatch.setenv(variable, f"{sys.executable} -c pass")  # a program with arguments
    check_compile("default", Llm, "sdpa", torch.device(device), in_llm=False)
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(SettingError, match=r"expected off: torch\.compile needs no-such-compiler"):
        check_compile("default", Llm, "sdpa", torch.device(device), in_llm=False)

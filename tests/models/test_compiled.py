"""A compiled model is the same model: bitwise before code generation, and after it to rounding."""

from __future__ import annotations

import shutil

import pytest
import torch
from families import build, visuals

from script_exp.errors import SettingError
from script_exp.models.compiled import check_compile, compile_prefill
from script_exp.pruners import NoPruning, Script

QUESTIONS = ["what is it?", "how many red stars are there in the picture?", "is it?"]
FAMILIES = ("llava", "llava_onevision", "qwen2_5_vl")


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
        encoded = model.encode_images(inputs, with_joint=True)
        queries = model.encode_queries(questions)
        for pruner in (NoPruning(), Script(budget=6)):
            yield model.prune(inputs, encoded, pruner, queries)


def outputs(model, family):
    """Logits of the prefill, keys and values, logits of a decoded token, and the answer, of every prompt."""
    for prompt in prompts(model, family):
        output = model.prefill(prompt)
        cache = [part for layer in output.past_key_values.layers for part in (layer.keys, layer.values)]
        cache = [part.clone() for part in cache]
        step = model.decode_step(output, prompt, 1)
        yield [output.logits, *cache, step.logits], model.generate(prompt, 3).texts


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
    for (tensors, texts), (wanted, wanted_texts) in zip(outputs(model, family), expected, strict=True):
        assert all(map(torch.equal, tensors, wanted))
        assert texts == wanted_texts
    assert 1 <= len(traced) <= 2  # position ids are counted inside, or given by generate()
    masks = [node for graph in traced for node in graph.graph.nodes if "attn_mask" in node.kwargs]
    assert all(node.kwargs["attn_mask"] is None for node in masks)  # else there is no flash attention
    assert masks


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_generated_code(tmp_path):
    model = build("llava_onevision", tmp_path)
    expected = list(outputs(model, "llava_onevision"))
    compile_prefill(model.adapter.llm, "default")
    for (tensors, _), (wanted, _) in zip(outputs(model, "llava_onevision"), expected, strict=True):
        for tensor, other in zip(tensors, wanted, strict=True):
            torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_on_a_gpu(mode, tmp_path):
    """With CUDA graphs, too, a prompt's keys and values outlive the prefill of the next."""
    model = build("llava_onevision", tmp_path)
    model.model.cuda()
    expected = list(outputs(model, "llava_onevision"))
    compile_prefill(model.adapter.llm, mode)
    got = list(outputs(model, "llava_onevision"))
    for (tensors, _), (wanted, _) in zip(
        [*got, *outputs(model, "llava_onevision")], 2 * expected, strict=True
    ):
        for tensor, other in zip(tensors, wanted, strict=True):
            torch.testing.assert_close(tensor, other, rtol=1e-2, atol=1e-3)


class Llm:
    layer_types = ("full_attention",)
    sliding_window = None


class Sliding:
    layer_types = ("sliding_attention", "full_attention")


class Mistral:
    sliding_window = 4096


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "attention", "in_llm", "expected"),
    [
        (Llm, "sdpa", True, "off: this pruner changes the LLM between its layers"),
        (Llm, "eager", False, "off with attention=eager; or attention=sdpa"),
        (Sliding, "sdpa", False, "off: the LLM of this model has a sliding window"),
        (Mistral, "sdpa", False, "off: the LLM of this model has a sliding window"),
    ],
)
def test_what_cannot_be_compiled(config, attention, in_llm, expected):
    check_compile("off", config, attention, CPU, in_llm)
    with pytest.raises(SettingError, match=f"model.compile=default: expected {expected}"):
        check_compile("default", config, attention, CPU, in_llm)


def test_without_a_compiler(monkeypatch):
    check_compile("default", Llm, "sdpa", torch.device("cuda"), in_llm=False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingError, match="there is no C"):
        check_compile("default", Llm, "sdpa", CPU, in_llm=False)

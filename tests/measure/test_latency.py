"""What the latency pass measures and in which order; never how long it takes."""

from __future__ import annotations

import pytest
import torch
from conftest import QUESTIONS, images

from script_exp.measure.latency import LatencyInput, LatencyProtocol, measure_latency
from script_exp.measure.memory import peak_memory
from script_exp.pruners import FastV, NoPruning, Script


class Recording(Script):
    """Notes on which prompt it was called."""

    calls: list[str]

    def __call__(self, visual, query=None):
        self.calls.append(visual.key)
        return super().__call__(visual, query)


def test_stages_counts_and_interleaving(llava):
    inputs = [
        LatencyInput(image, llava.chat_prompt(question), question)
        for image, question in zip(images(2), QUESTIONS, strict=False)
    ]
    script = Recording(budget=16)
    script.calls = []
    pruners = {
        "unpruned": NoPruning(),
        "script": script,
        "fastv": FastV(budget=8, layer=1, budget_as="after"),
    }
    protocol = LatencyProtocol(warm_up=1, repeats=2, decode_steps=3)
    latencies = measure_latency(llava, inputs, pruners, protocol)
    common = {"preprocess", "vision", "pruner", "llm", "decode_per_token"}
    assert latencies["unpruned"].stages.keys() == common
    assert latencies["script"].stages.keys() == common | {"query_encoder"}
    assert all(latency.repeats == 4 for latency in latencies.values())
    prompts = [one.prompt for one in inputs]
    assert script.calls == [prompts[0], *prompts, *prompts, prompts[0]]  # warm-up, repeats, peak memory
    for latency in latencies.values():
        assert 0 < latency.llm_prefill.q1 <= latency.llm_prefill.median <= latency.llm_prefill.q3
        assert latency.llm_prefill.median < latency.ttft.median


def test_cuda_graphs_are_recorded_before_anything_counts(llava, monkeypatch):
    inputs = [LatencyInput(image, llava.chat_prompt("what?"), "what?") for image in images(2)]
    script = Recording(budget=16)
    script.calls = []
    monkeypatch.setattr(type(llava), "records_graphs", True)
    latency = measure_latency(llava, inputs, {"script": script}, LatencyProtocol(1, 1, 1))["script"]
    assert len(script.calls) == 3 * 2 + 2  # as it is, recorded, replayed; then what counts
    assert latency.peak_bytes is None  # a replay allocates nothing that torch could count


def test_cache_bytes_are_those_of_the_prefill(llava):
    question = QUESTIONS[0]
    inputs = [LatencyInput(images(1)[0], llava.chat_prompt(question), question)]
    latency = measure_latency(llava, inputs, {"script": Script(budget=16)})["script"]
    text = llava.preprocess([[inputs[0].visual]], [inputs[0].prompt])["input_ids"].shape[1] - 576
    config = llava.model.config.text_config
    values = 2 * 4 * (16 + text) * config.num_key_value_heads * config.head_dim
    assert latency.kv_cache_bytes == 4 * values


def test_peak_memory_is_what_a_call_holds_at_most():
    layer = torch.nn.Linear(10, 10)
    weights = 4 * 110

    def call():
        block = torch.ones(1_000_000)
        del block
        torch.ones(3_000_000)

    assert peak_memory(layer, call) == pytest.approx(weights + 12_000_000, rel=0.01)
    assert peak_memory(layer, lambda: None) == weights

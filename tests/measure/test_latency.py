"""What the latency pass measures and in which order, but never how long it takes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_llava import QUESTIONS, images

from script_exp.measure import latency
from script_exp.measure.clock import Clock, Spread
from script_exp.measure.latency import LatencyInput, LatencyProtocol, measure_latency
from script_exp.measure.memory import peak_memory
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import FastV, NoPruning, Script

# What each call of the model takes by the clock of a test, in ms.
TAKES = {
    "preprocess": 1, "encode_images": 10, "encode_queries": 100, "prune": 1000, "prefill": 10_000,
    "decode_step": 100_000,
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """(method, prompt) of every pruning, whatever the method."""
    made, prune = [], PrunableModel.prune

    def noted(model, inputs, images, pruner, queries=None, keys=None):
        made.append((pruner, *keys))
        return prune(model, inputs, images, pruner, queries, keys)

    monkeypatch.setattr(PrunableModel, "prune", noted)
    return made


@pytest.fixture
def only_calls_take_time(monkeypatch):
    """A clock that stands still but for the calls of the model."""
    now = [0]

    def taking(call, milliseconds):
        def timed(*args, **kwargs):
            now[0] += milliseconds * 10**6
            return call(*args, **kwargs)

        return timed

    for name, milliseconds in TAKES.items():
        monkeypatch.setattr(PrunableModel, name, taking(getattr(PrunableModel, name), milliseconds))
    monkeypatch.setattr(latency, "Clock", partial(Clock, now=lambda: now[0]))


def questions(model, count):
    return [
        LatencyInput([image], model.chat_prompt(question), question)
        for image, question in zip(images(count), QUESTIONS, strict=False)
    ]


def contestants():
    return {
        "unpruned": NoPruning(),
        "script": Script(budget=16),
        "fastv": FastV(budget=8, layer=1, budget_as="after"),
    }


def test_stages_counts_and_interleaving(llava, calls):
    inputs, pruners = questions(llava, 2), contestants()
    protocol = LatencyProtocol(warm_up=1, repeats=2, decode_steps=3)
    latencies = measure_latency(llava, inputs, pruners, protocol)
    common = {"preprocess", "vision", "llm", "decode_per_token"}
    assert latencies["unpruned"].stages.keys() == common  # the stock model has no pruner
    assert latencies["fastv"].stages.keys() == common | {"pruner"}
    assert latencies["script"].stages.keys() == common | {"pruner", "query_encoder"}
    assert all(measured.repeats == 4 for measured in latencies.values())
    prompts = [one.prompt for one in inputs]
    turns = [prompts[0], *prompts, *prompts, prompts[0]]  # warm-up, repeats, peak memory
    pruned = [pruner for name, pruner in pruners.items() if name != "unpruned"]
    assert calls == [(pruner, prompt) for prompt in turns for pruner in pruned]
    for measured in latencies.values():
        assert 0 < measured.llm_prefill.q1 <= measured.llm_prefill.median <= measured.llm_prefill.q3
        assert measured.llm_prefill.median < measured.ttft.median


def test_a_stage_is_the_time_of_its_call_and_the_totals_hold_their_stages(llava, only_calls_take_time):
    protocol = LatencyProtocol(warm_up=1, repeats=2, decode_steps=3)
    for name, measured in measure_latency(llava, questions(llava, 2), contestants(), protocol).items():
        asked = {"query_encoder": 100} if name == "script" else {}
        chosen = {} if name == "unpruned" else {"pruner": 1000}
        stages = {"preprocess": 1, "vision": 10, **asked, **chosen, "llm": 10_000}
        stages["decode_per_token"] = 100_000  # of one token
        assert measured.stages == {stage: Spread(took, took, took) for stage, took in stages.items()}
        prefill = 10_000 + sum(chosen.values())
        assert measured.llm_prefill == Spread(prefill, prefill, prefill)
        assert measured.ttft.median == 11 + prefill + sum(asked.values())


def test_cuda_graphs_are_recorded_before_anything_counts(llava, monkeypatch, calls):
    monkeypatch.setattr(PrunableModel, "records_graphs", True)
    pruners = {"script": Script(budget=16)}
    measured = measure_latency(llava, questions(llava, 2), pruners, LatencyProtocol(1, 1, 1))
    assert len(calls) == 3 * 2 + 2  # as it is, recorded, replayed; then what counts
    assert measured["script"].peak_bytes is None  # a replay allocates nothing that torch could count


def test_cache_bytes_are_those_of_the_prefill(llava):
    inputs = questions(llava, 1)
    measured = measure_latency(llava, inputs, {"script": Script(budget=16)})["script"]
    text = llava.preprocess([inputs[0].visuals], [inputs[0].prompt])["input_ids"].shape[1] - 576
    config = llava.model.config.text_config
    values = 2 * 4 * (16 + text) * config.num_key_value_heads * config.head_dim
    assert measured.kv_cache_bytes == 4 * values


def test_peak_memory_is_what_a_call_holds_at_most():
    layer = torch.nn.Linear(10, 10)
    weights = 4 * 110

    def call():
        block = torch.ones(1_000_000)
        del block
        torch.ones(3_000_000)

    assert peak_memory(layer, call) == pytest.approx(weights + 12_000_000, rel=0.01)
    assert peak_memory(layer, lambda: None) == weights


def test_the_baseline_is_bitwise_the_stock_model(llava):
    (sample,) = questions(llava, 1)
    inputs = llava.preprocess([sample.visuals], [sample.prompt])
    whole = llava.whole_prompt(inputs, llava.encode_images(inputs))
    with torch.no_grad():
        stock = llava.model(**inputs, logits_to_keep=1)
    assert torch.equal(llava.prefill(whole).logits, stock.logits)

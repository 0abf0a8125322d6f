"""Time of one prefill by stage, for several methods in turn, separate from the accuracy pass.

Batch 1, after warm-up, synchronized before and after every stage. The inputs rotate among several samples.
The methods are interleaved sample by sample, so that drift in the device's speed affects all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from script_exp.measure.clock import Clock, Spread
from script_exp.measure.kv_cache import held_bytes
from script_exp.measure.memory import peak_memory
from script_exp.models.cache_name import CACHE
from script_exp.models.devices import devices_of
from script_exp.models.families.adapter import Visual
from script_exp.models.prunable import PrunableModel
from script_exp.models.stage_outputs import Prompt
from script_exp.pruners.before_llm.none import NoPruning
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Pruner

# A prompt length first runs as is, is then recorded as a CUDA graph, and is replayed from the third pass on.
_UNTIL_REPLAYED = 3


@dataclass(frozen=True)
class LatencyProtocol:
    """How many passes to run.

    Attributes:
        warm_up: uncounted passes per method; with CUDA graphs at least as many as it takes to record them.
        repeats: counted passes per sample and method.
        decode_steps: tokens decoded after each prefill, for the time per token.
    """

    warm_up: int = 2
    repeats: int = 3
    decode_steps: int = 4


@dataclass(frozen=True)
class LatencyInput:
    """A question's images or video with its prompt and the text that the query encoder sees."""

    visuals: Sequence[Visual]
    prompt: str
    query: str


@dataclass(frozen=True)
class Latency:
    """The time and memory of one method.

    Attributes:
        stages: ``preprocess``, ``vision`` (tower and projector), ``query_encoder``, ``pruner``, ``llm`` and
            ``decode_per_token``; without pruning there is no ``pruner``, and without a question no encoder.
        llm_prefill: pruner and LLM up to the first logits.
        ttft: everything from the image to the first logits.
        peak_bytes: peak memory of an LLM prefill, pruner included, on one sample, in a separate pass; None
            with CUDA graphs, whose memory torch does not report as allocated.
        kv_cache_bytes: bytes that the LLM's cache holds after prefill, mean over the samples.
        repeats: total number of counted passes.
    """

    stages: dict[str, Spread]
    llm_prefill: Spread
    ttft: Spread
    peak_bytes: int | None
    kv_cache_bytes: float
    repeats: int


def measure_latency(
    model: PrunableModel,
    inputs: Sequence[LatencyInput],
    pruners: dict[str, Pruner | LayerPruner],
    protocol: LatencyProtocol | None = None,
) -> dict[str, Latency]:
    """Time every pruner on the same inputs, in turn.

    Args:
        model: the model.
        inputs: the samples that rotate.
        pruners: methods by name.
        protocol: how many passes to run; the defaults if None.

    Returns:
        one :class:`Latency` per name.
    """
    protocol = protocol or LatencyProtocol()
    devices = devices_of(model.model)
    clocks = {name: Clock(devices) for name in pruners}
    cache_bytes: dict[str, list[int]] = defaultdict(list)
    warm = Clock(devices)
    graphs = model.records_graphs
    for turn in range(max(protocol.warm_up, _UNTIL_REPLAYED * len(inputs)) if graphs else protocol.warm_up):
        for pruner in pruners.values():
            _one_pass(model, inputs[turn % len(inputs)], pruner, warm, protocol.decode_steps)
    for _ in range(protocol.repeats):
        for sample in inputs:
            for name, pruner in pruners.items():
                cache_bytes[name].append(
                    _one_pass(model, sample, pruner, clocks[name], protocol.decode_steps)
                )
    peaks = {name: None if graphs else _peak(model, inputs[0], pruner) for name, pruner in pruners.items()}
    return {name: _summarize(clocks[name].times, peaks[name], cache_bytes[name]) for name in pruners}


def _one_pass(
    model: PrunableModel, sample: LatencyInput, pruner: Pruner | LayerPruner, clock: Clock, decode_steps: int
) -> int:
    """Run one prefill and a few decoding steps; return the bytes that the KV cache holds after prefill."""
    prompt: Prompt
    with ExitStack() as hooks:
        with clock.stage("ttft"):
            with clock.stage("preprocess"):
                inputs = model.preprocess([sample.visuals], [sample.prompt])
            with clock.stage("vision"):
                images = model.encode_images(inputs, pruner.reads)
            queries = None
            if pruner.reads.question:
                with clock.stage("query_encoder"):
                    queries = model.encode_queries([sample.query], pruner.reads)
            with clock.stage("llm_prefill"):
                if isinstance(pruner, NoPruning):  # as the stock model: nothing is chosen
                    prompt = model.whole_prompt(inputs, images)
                else:
                    with clock.stage("pruner"):
                        prompt = model.prune(inputs, images, pruner, queries, keys=[sample.prompt])
                with clock.stage("llm"):
                    hooks.enter_context(model.pruning_inside(prompt))
                    output = model.prefill(prompt)
        held = held_bytes(getattr(output, CACHE))
        for step in range(decode_steps):
            with clock.stage("decode_per_token"):
                output = model.decode_step(output, prompt, step + 1)
    return held


def _peak(model: PrunableModel, sample: LatencyInput, pruner: Pruner | LayerPruner) -> int:
    inputs = model.preprocess([sample.visuals], [sample.prompt])
    images = model.encode_images(inputs, pruner.reads)
    queries = model.encode_queries([sample.query], pruner.reads) if pruner.reads.question else None

    def prefill() -> None:
        prompt = (
            model.whole_prompt(inputs, images)
            if isinstance(pruner, NoPruning)
            else model.prune(inputs, images, pruner, queries, keys=[sample.prompt])
        )
        with model.pruning_inside(prompt):
            model.prefill(prompt)

    return peak_memory(model.model, prefill)


def _summarize(times: dict[str, list[float]], peak: int | None, cache_bytes: list[int]) -> Latency:
    spreads = {name: Spread.of(values) for name, values in times.items()}
    return Latency(
        stages=spreads,
        llm_prefill=spreads.pop("llm_prefill"),
        ttft=spreads.pop("ttft"),
        peak_bytes=peak,
        kv_cache_bytes=float(np.mean(cache_bytes)),
        repeats=len(times["ttft"]),
    )

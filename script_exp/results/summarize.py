"""Summarize the records of all samples and the measurements into the result of a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from script_exp.measure.clock import Spread
from script_exp.measure.flops import PromptShape, decoder, prefill_stages
from script_exp.measure.kv_cache import kv_cache_bytes
from script_exp.measure.latency import Latency
from script_exp.measure.layer_flops import last_rows
from script_exp.measure.signal_flops import signal_operations
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.models.tower_layers import used_tower_layers
from script_exp.models.tower_shape import TowerShape
from script_exp.pruners import LayerPruner, Pruner
from script_exp.pruners.contract.budget import grid_within
from script_exp.results.record import SampleTokens, Tokens


def summarize_tokens(records: Sequence[SampleTokens], requested: int | float | None) -> Tokens:
    """Return mean token counts."""
    return Tokens(
        visual=float(np.mean([record.visual for record in records])),
        offered=float(np.mean([record.offered for record in records])),
        separators=float(np.mean([record.separators for record in records])),
        crops=float(np.mean([record.crops for record in records])),
        budget_crops=float(np.mean([record.budget_crops for record in records])),
        requested=requested,
        kept=float(np.mean([record.kept for record in records])),
        layer_average=float(np.mean([record.layer_average for record in records])),
    )


def summarize_costs(
    model: PrunableModel, pruner: Pruner | LayerPruner, records: Sequence[SampleTokens]
) -> tuple[dict[str, Any], float]:
    """Return FLOPs as in ``result.json`` and bytes of the KV cache: means over the samples, by formula."""
    config, family = model.model.config, type(model.adapter)
    tower = family.tower_shape(config)
    encoder = model.query_encoder if isinstance(model.query_encoder, ClipQueryEncoder) else None
    signals, smaller = pruner.reads.signals, pruner.reads.smaller_to
    stages: dict[str, list[int]] = defaultdict(list)
    visual_only, cache = [], []
    for record in records:
        lengths = record.by_layer or model.visual_by_layer(
            pruner, record.visual, record.kept, record.budget_crops
        )
        others = record.text + record.separators
        shape = PromptShape(
            crops=record.crops,
            grids=tuple((t, h, w) for t, h, w in record.grids),
            visual_by_layer=tuple(lengths),
            text=others,
            query=record.query,
            patches=None if smaller is None or record.grids else _patches_of_smaller(tower, smaller),
        )
        counts = prefill_stages(
            family,
            config,
            shape,
            tower_layers=used_tower_layers(config),
            text_encoder=encoder.config if encoder else None,
            joint_width=encoder.width if encoder else 0,
            pruner=record.pruner_operations,
            layer=_last_rows(model, pruner, lengths[0], record),
        )
        counts["vision_tower"] += signal_operations(tower, signals, record.crops, shape.grids)
        for stage, count in counts.items():
            stages[stage].append(count)
        visual_only.append(decoder(config.text_config, lengths, gated=family.gates_attention))
        held = [length + others for length in lengths]
        cache.append(kv_cache_bytes(config.text_config, held, model.model.dtype.itemsize))
    means = {stage: float(np.mean(counts)) for stage, counts in stages.items()}
    flops = {
        "prefill_total": sum(means.values()),
        "llm_visual_only": float(np.mean(visual_only)),
        "stages": means,
    }
    return flops, float(np.mean(cache))


def _last_rows(
    model: PrunableModel, pruner: Pruner | LayerPruner, entering: int, record: SampleTokens
) -> list[int]:
    """Return the layers of the stages that read the last token's row."""
    if not isinstance(pruner, LayerPruner):
        return []
    return last_rows(pruner.then, model.schedule(pruner, entering, record.budget_crops))


def _patches_of_smaller(tower: TowerShape, budget: int | float) -> int:
    """Return the patches of a square crop that is made smaller to ``budget`` tokens."""
    side = math.isqrt(tower.crop_patches)
    return math.prod(grid_within(budget, (side, side)))


def summarize_latency(pruned: Latency, unpruned: Latency) -> dict[str, Any]:
    """Return ``latency`` of ``result.json``, with the unpruned model measured in the same process."""
    return {
        **one_latency(pruned),
        "repeats": pruned.repeats,
        "unpruned": one_latency(unpruned),
        "llm_prefill_speedup": unpruned.llm_prefill.median / pruned.llm_prefill.median,
        "ttft_speedup": unpruned.ttft.median / pruned.ttft.median,
    }


def one_latency(latency: Latency) -> dict[str, Any]:
    """Return one method's times and memory, as in ``result.json``."""
    return {
        "llm_prefill_ms": latency.llm_prefill.median,
        "llm_prefill_quartiles_ms": [latency.llm_prefill.q1, latency.llm_prefill.q3],
        "ttft_ms": latency.ttft.median,
        "ttft_quartiles_ms": [latency.ttft.q1, latency.ttft.q3],
        "peak_memory_bytes": latency.peak_bytes,
        "kv_cache_bytes_held": latency.kv_cache_bytes,
        "stages": {name: _quartiles(spread) for name, spread in latency.stages.items()},
    }


def _quartiles(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "q1": spread.q1, "q3": spread.q3}

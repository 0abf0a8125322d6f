"""The metrics of a finished run under the names that a tracker shows."""

from __future__ import annotations

import json
from typing import Any


def final_metrics(result: dict[str, Any], unpruned: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the final metrics under the names that the tracker shows; those of one kind share a prefix.

    ``accuracy/retained`` is the share of the accuracy of ``unpruned``, the result of the unpruned run.

    ``result`` is all of ``result.json`` as one string, so that tables can be made from a W&B project alone
    (``script_exp.results.read_wandb``). As a dictionary it would add a W&B column for each of its numbers.
    """
    metrics = {
        "result": json.dumps(result),
        "tokens/kept": result["tokens"]["kept"],
        "tokens/layer_average": result["tokens"]["layer_average"],
        "flops/prefill_total": result["flops"]["prefill_total"],
        "flops/llm_visual_only": result["flops"]["llm_visual_only"],
        "memory/kv_cache_bytes": result["kv_cache_bytes"],
    }
    if result["accuracy"]:
        interval = result["accuracy"]["ci95"] or ()
        metrics |= {
            "accuracy/value": result["accuracy"]["value"],
            **{f"accuracy/ci95_{end}": at for end, at in zip(("low", "high"), interval, strict=False)},
            "accuracy/n": result["accuracy"]["n"],
            **{f"accuracy_by_kind/{kind}": value for kind, value in result["accuracy"]["by_kind"].items()},
        }
        full = unpruned["accuracy"]["value"] if unpruned and unpruned["accuracy"] else 0
        if full:
            metrics["accuracy/retained"] = result["accuracy"]["value"] / full
    if result["latency"]:
        metrics["latency/llm_prefill_ms"] = result["latency"]["llm_prefill_ms"]
        metrics["latency/ttft_ms"] = result["latency"]["ttft_ms"]
        metrics["latency/llm_prefill_speedup"] = result["latency"]["llm_prefill_speedup"]
    if result["peak_memory_bytes"] is not None:
        metrics["memory/peak_bytes"] = result["peak_memory_bytes"]
    return metrics

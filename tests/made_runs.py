"""Small finished runs with given scores, written as by the runner, for the tests of tables."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

STAGES = {"preprocess": 2.0, "vision": 14.0, "query_encoder": 1.5, "pruner": 3.0, "llm": 7.0}


def save_run(
    outputs, pruner, budget, scores, *, benchmark="shapes", model="tiny", variant="", settings=None, seed=0,
    benchmark_settings=None, prompt_version=1, protocol_version=1, limit=None, skipped=0,
    weights="pretrained", checkpoint="embedded", dtype="float32", device="CPU X", latency=10.0,
    baseline="full", query_text=None, kept=None, tokens=None, metric="mean", scale=100, identity=None,
    time="2026-11-23T00:00:00+00:00",
):  # fmt: skip
    """A run directory; two samples make a unit. ``baseline`` names the unpruned run.

    Args:
        scores: of every sample, in order.
        kept: of every sample the kept indices of every crop.
        tokens: what is different in ``tokens`` of the result.

    Returns:
        the directory.
    """
    number = len(list(outputs.rglob("result.json")))
    folder = outputs / model / benchmark / f"{pruner}-{budget}-s{seed}-{number}"
    folder.mkdir(parents=True)
    unpruned = f"{baseline}-{benchmark}"
    value, interval = (None, None) if weights == "random" else interval_of(scores)
    result = {
        "schema_version": 5,
        "status": "finished",
        "identity": identity or (unpruned if pruner == "none" else f"{zlib.crc32(str(folder).encode()):08x}"),
        "unpruned_identity": unpruned,
        "cell": {
            "model": model, "benchmark": benchmark, "pruner": pruner, "budget": budget, "seed": seed,
            "variant": variant,
            "pruner_settings": settings or ({"seed": seed} if pruner == "random" else {}),
            "benchmark_settings": benchmark_settings or {}, "prompt_version": prompt_version,
            "protocol_version": protocol_version, "limit": limit,
            "query_text": query_text,
        },
        "accuracy": None if weights == "random" else {
            "metric": metric, "scale": scale, "value": value, "n": len(scores), "ci95": interval,
            "by_kind": {}, "partial": limit is not None or skipped > 0, "skipped": skipped,
        },
        "tokens": {
            "visual": 576.0, "offered": 576.0, "separators": 0.0, "crops": 1.0, "budget_crops": 1.0,
            "requested": budget, "kept": float(budget or 576), "layer_average": float(budget or 576),
            **(tokens or {}),
        },
        "flops": {
            "prefill_total": 1e9 + 4e6 * (budget or 576), "llm_visual_only": 3e6 * (budget or 576),
            "stages": {},
        },
        "kv_cache_bytes": 2**20 * (budget or 576) / 64,
        "latency": latency and {
            "llm_prefill_ms": latency, "ttft_ms": latency + 17.5, "llm_prefill_speedup": 20.0 / latency,
            "ttft_speedup": 37.5 / (latency + 17.5),
            "unpruned": {"llm_prefill_ms": 20.0, "ttft_ms": 37.5},
            "stages": {
                name: {"median": ms, "q1": ms, "q3": ms}
                for name, ms in {**STAGES, "llm": latency - 3, "decode_per_token": 2.0}.items()
            },
        },
        "peak_memory_bytes": None if latency is None else 2**20 * 8,
        "provenance": [{
            "time": time, "checkpoint": checkpoint, "weights": weights, "device": device, "cuda": None,
            "git": {"commit": "c0ffee", "dirty": False}, "dtype": dtype, "attention": "sdpa",
        }],
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "status.json").write_text('{"state": "finished", "why": null}')
    samples = [
        {
            "id": str(i), "unit": str(i // 2), "kind": "all", "answer": "", "references": [], "score": score,
            "kept_indices": None if kept is None else kept[i],
        }
        for i, score in enumerate(scores)
    ]  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return folder


def interval_of(scores):
    """The mean, and an interval around it that is good enough for a test's run; none for a single unit."""
    mean = float(np.mean(scores))
    return mean, [mean - 0.05, mean + 0.08] if len(scores) > 2 else None


def draw(seed, share, count=40):
    """Scores of 0 and 1, about ``share`` of them right."""
    return (np.random.default_rng(seed).random(count) < share).astype(float).tolist()


def save_grid(outputs: Path, benchmarks=("shapes",), budgets=(64, 32), seeds=(0,), **settings):
    """Unpruned, random, graph, query, script and trim on every benchmark."""
    for benchmark in benchmarks:
        save_run(outputs, "none", None, draw(1, 0.9), benchmark=benchmark, latency=20.0, **settings)
        for seed in seeds:
            for rank, pruner in enumerate(["random", "graph", "query", "script", "trim"]):
                for budget in budgets:
                    share = 0.4 + 0.08 * rank + budget / 640
                    scores = draw([seed, rank, int(100 * budget), len(benchmark)], share)
                    save_run(
                        outputs, pruner, budget, scores, benchmark=benchmark, seed=seed,
                        latency=5.0 + rank + budget / 64, **settings,
                    )  # fmt: skip

"""All finished runs below a folder, as one tidy table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from script_exp.errors import UserError
from script_exp.results.run_directory import read_result, result_files


@dataclass(frozen=True)
class Runs:
    """Finished runs and what could not be read.

    Attributes:
        frame: one row per run; empty if there is none.
        problems: one sentence per file that was left out.
    """

    frame: pd.DataFrame
    problems: list[str] = field(default_factory=list)


def load_runs(outputs: Path) -> Runs:
    """Read every ``result.json`` below ``outputs``.

    Columns: the cell (model, benchmark, pruner, budget, seed, variant), identity, unpruned_identity, embedded
    (the tiny model of the package), weights (pretrained or random), metric, scale
    (100: a share, 1: points), accuracy, ci_low, ci_high, n, partial, skipped, kept, layer_average, visual,
    prefill_tflops, llm_visual_tflops, kv_mib, llm_prefill_ms, ttft_ms, speedup, and run_dir. What was not
    measured is missing, never zero.
    """
    rows, problems = [], []
    for path in result_files(outputs):
        try:
            rows.append(_row(read_result(path), path.parent))
        except UserError as error:
            problems.append(str(error))
        except (KeyError, TypeError) as error:
            problems.append(f"{path} is damaged ({type(error).__name__}: {error})")
    return Runs(pd.DataFrame(rows), problems)


def load_samples(run_dir: Path) -> pd.DataFrame:
    """The samples of one run, one row each, indexed by id.

    Raises:
        UserError: if the file is missing or a line does not parse.
    """
    file = run_dir / "samples.jsonl"
    try:
        lines = file.read_bytes().split(b"\n")
        return pd.DataFrame([json.loads(line) for line in lines if line]).set_index("id")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{file} cannot be read ({error}); remove {run_dir} to run this cell again"
        ) from error


def _row(result: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    tokens, flops = result["tokens"], result["flops"]
    latency = result["latency"] or {}
    return {
        **result["cell"],
        "identity": result["identity"],
        "unpruned_identity": result["unpruned_identity"],
        "embedded": result["provenance"][-1]["checkpoint"] == "embedded",
        "weights": result["provenance"][-1]["weights"],
        **_accuracy(result["accuracy"]),
        "visual": tokens["visual"],
        "kept": tokens["kept"],
        "layer_average": tokens["layer_average"],
        "prefill_tflops": flops["prefill_total"] / 1e12,
        "llm_visual_tflops": flops["llm_visual_only"] / 1e12,
        "kv_mib": result["kv_cache_bytes"] / 2**20,
        "llm_prefill_ms": latency.get("llm_prefill_ms"),
        "ttft_ms": latency.get("ttft_ms"),
        "speedup": latency.get("llm_prefill_speedup"),
        "run_dir": str(run_dir),
    }


def _accuracy(accuracy: dict[str, Any] | None) -> dict[str, Any]:
    """Columns of the metric; empty for random weights and where a server scores."""
    columns = ("metric", "scale", "accuracy", "ci_low", "ci_high")
    if accuracy is None:
        return dict.fromkeys(columns) | {"n": 0, "partial": False, "skipped": 0}
    low, high = accuracy["ci95"]
    values = (accuracy["metric"], accuracy["scale"], accuracy["value"], low, high)
    counts = {"n": accuracy["n"], "partial": accuracy["partial"], "skipped": accuracy.get("skipped", 0)}
    return dict(zip(columns, values, strict=True)) | counts

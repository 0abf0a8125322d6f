"""What a person sees of a speed measurement: a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

# From the image to the first logits, in order; decoding comes after.
_STAGES = ("preprocess", "vision", "query_encoder", "pruner", "llm")


def print_table(result: dict[str, Any]) -> None:
    """Medians by stage, totals with their speed-up, memory, operations and the share of the ceiling."""
    device = result["provenance"]["device"]
    what = f"{result['model']}{_compiled(result)} on {device}"
    table = Table(title=f"{what}, batch 1, medians of {_repeats(result)} passes")
    table.add_column("", no_wrap=True)
    for method in result["methods"]:
        table.add_column(method["method"], justify="right", no_wrap=True)
    for stage in (*_STAGES, "decode_per_token"):
        table.add_row(f"{stage}, ms", *(_stage(method, stage) for method in result["methods"]))
    for label, key in (("LLM prefill", "llm_prefill"), ("time to first token", "ttft")):
        table.add_row(
            f"{label}, ms", *(f"{method['latency'][f'{key}_ms']:.2f}" for method in result["methods"])
        )
        table.add_row("  speed-up", *(f"{method[f'{key}_speedup']:.2f}x" for method in result["methods"]))
    rows = {
        "visual tokens kept": lambda method: f"{method['tokens']['kept']:g}",
        "prefill, GFLOPs": lambda method: f"{method['flops']['prefill_total'] / 1e9:.3f}",
        "  ratio": lambda method: f"{method['flops_ratio']:.2f}x",
        "LLM, share of ceiling": lambda method: f"{method['share_of_ceiling']['llm']:.1%}",
        "vision, share of ceiling": lambda method: f"{method['share_of_ceiling']['vision']:.1%}",
        "KV cache, MiB": lambda method: f"{method['kv_cache_bytes'] / 2**20:.3f}",
        "peak memory, MiB": lambda method: _peak(method["latency"]["peak_memory_bytes"]),
    }
    for label, text in rows.items():
        table.add_row(label, *map(text, result["methods"]))
    console = Console()
    console.width = max(console.width, 30 + 18 * len(result["methods"]))  # whole names when piped
    console.print(table)
    ceiling = result["matmul_ceiling_flops_per_s"] / 1e12
    print(f"ceiling: a large matrix product ran at {ceiling:.3f} TFLOP/s in {result['provenance']['dtype']}")


def draw_figure(result: dict[str, Any], path: Path) -> None:
    """Time to the first token by stage, one bar per method."""
    frame = pd.DataFrame(
        {method["method"]: _medians(method) for method in result["methods"]}, index=pd.Index(_STAGES)
    ).T.fillna(0.0)
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(8, 1.2 + 0.4 * len(frame)), layout="constrained")
        axes = figure.subplots()
        left = pd.Series(0.0, index=frame.index)
        for stage, color in zip(_STAGES, sns.color_palette("deep"), strict=False):
            axes.barh(frame.index, frame[stage], left=left, color=color, label=stage.replace("_", " "))
            left += frame[stage]
        axes.invert_yaxis()
        axes.set_xlabel("ms to the first token, medians by stage, batch 1")
        provenance = result["provenance"]
        weights = " (random weights)" if provenance["weights"] == "random" else ""
        kind = f"{provenance['device']}, {provenance['dtype']}{_compiled(result)}"
        axes.set_title(f"{result['model']}{weights}, {kind}")
        figure.legend(loc="outside lower center", ncols=len(_STAGES), frameon=False)
        figure.savefig(path, dpi=150)


def _peak(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _compiled(result: dict[str, Any]) -> str:
    mode = result["provenance"]["compile"]
    return "" if mode == "off" else f", compiled ({mode})"


def _medians(method: dict[str, Any]) -> dict[str, float]:
    stages = method["latency"]["stages"]
    return {stage: stages[stage]["median"] for stage in _STAGES if stage in stages}


def _stage(method: dict[str, Any], stage: str) -> str:
    spread = method["latency"]["stages"].get(stage)
    return "" if spread is None else f"{spread['median']:.2f}"


def _repeats(result: dict[str, Any]) -> int:
    return int(result["methods"][0]["latency"]["repeats"])

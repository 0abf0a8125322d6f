"""The table and the figure of a speed measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from script_exp.analysis.figures.cost import stage_bars
from script_exp.analysis.figures.style import FULL_WIDTH, legend, panels, style
from script_exp.errors import on_one_line
from script_exp.results.read import STAGES


def print_table(result: dict[str, Any]) -> None:
    """Print medians by stage, totals with their speed-up, memory, operations and the share of the ceiling."""
    device = result["provenance"]["device"]
    what = f"{result['model']}{_changed(result)} on {device}"
    title = on_one_line(f"{what}, batch 1, medians of {_repeats(result)} passes")
    table = Table(title=Text(title, style="italic"))
    table.add_column("", no_wrap=True)
    for method in result["methods"]:
        table.add_column(Text(on_one_line(method["method"])), justify="right", no_wrap=True)
    for stage in (*STAGES, "decode_per_token"):
        table.add_row(f"{stage}, ms", *(_stage(method, stage) for method in result["methods"]))
    for label, key in (("LLM prefill", "llm_prefill"), ("time to first token", "ttft")):
        table.add_row(
            f"{label}, ms", *(f"{method['latency'][f'{key}_ms']:.2f}" for method in result["methods"])
        )
        table.add_row("  speed-up", *(f"{method[f'{key}_speedup']:.2f}x" for method in result["methods"]))
    rows = {
        "visual tokens kept": lambda method: f"{method['tokens']['kept']:g}",
        "  mean over LLM layers": lambda method: f"{method['tokens']['layer_average']:g}",
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
    console.width = max(console.width, 30 + 18 * len(result["methods"]))  # keep names whole when piped
    console.print(table)
    ceiling = result["matmul_ceiling_flops_per_s"] / 1e12
    print(f"ceiling: a large matrix product ran at {ceiling:.3f} TFLOP/s in {result['provenance']['dtype']}")


def draw_figure(result: dict[str, Any], path: Path) -> None:
    """Write the figure of a measurement to a file."""
    with style():
        bench_figure(result).savefig(path)


def bench_figure(result: dict[str, Any]) -> Figure:
    """Draw the time to the first token by stage, one bar per method."""
    methods = result["methods"]
    names = [method["method"] for method in methods]
    times = pd.DataFrame([_medians(method) for method in methods], index=names, columns=list(STAGES))
    provenance = result["provenance"]
    weights = " (random weights)" if provenance["weights"] == "random" else ""
    kind = f"{provenance['device']}, {provenance['dtype']}{_changed(result)}"
    figure, axes = panels(1, height=0.17 * len(times) + 0.75)
    figure.set_figwidth(FULL_WIDTH)
    stage_bars(axes[0], times)
    axes[0].set_xlabel("ms to the first token, medians of the stages, batch 1")
    axes[0].set_title(f"{result['model']}{weights}, {kind}")
    legend(figure, axes, columns=len(STAGES))
    return figure


def _peak(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _changed(result: dict[str, Any]) -> str:
    """Return how the model differs from the stock one, for a title."""
    mode, quantization = (result["provenance"].get(key, "off") for key in ("compile", "quantization"))
    compiled = "" if mode == "off" else f", compiled ({mode})"
    return compiled + ("" if quantization == "off" else f", weights in {quantization}")


def _medians(method: dict[str, Any]) -> dict[str, float]:
    stages = method["latency"]["stages"]
    return {stage: stages[stage]["median"] for stage in STAGES if stage in stages}


def _stage(method: dict[str, Any], stage: str) -> str:
    spread = method["latency"]["stages"].get(stage)
    return "" if spread is None else f"{spread['median']:.2f}"


def _repeats(result: dict[str, Any]) -> int:
    return int(result["methods"][0]["latency"]["repeats"])

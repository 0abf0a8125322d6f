"""Cost tables: FLOPs, KV cache, latency and memory of every method."""

from __future__ import annotations

import pandas as pd

from script_exp.analysis.accuracy import by_budget, heading
from script_exp.analysis.cells import Cells, setup_title
from script_exp.analysis.table import Entry, Group, Row, Table, without_empty

_COSTS = [
    "prefill_tflops", "llm_visual_tflops", "kv_mib", "llm_prefill_ms", "prefill_speedup", "ttft_ms",
    "ttft_speedup", "peak_mib",
]  # fmt: skip


def efficiency_tables(cells: Cells) -> list[Table]:
    """Return one table per setup, benchmark and device: methods grouped by budget."""
    tables = []
    for setup in cells.setups():
        for _, group in setup.groupby("column", sort=True):
            for _, device in group.groupby("device", sort=True):
                tables.append(without_empty(_table(device, group)))
    return tables


def _table(cells: pd.DataFrame, all_devices: pd.DataFrame) -> Table:
    giga = all_devices["prefill_tflops"].max() < 1
    factor, unit = (1000, "GFLOPs") if giga else (1, "TFLOPs")
    unpruned = all_devices[all_devices["budget"].isna()]
    before = unpruned.iloc[0] if len(unpruned) else None

    def cost(cell: pd.Series, name: str, digits: int, scale: float = 1) -> Entry:
        """Return a cost with its share of the unpruned model's cost."""
        if pd.isna(cell[name]):
            return Entry()
        pruned = before is not None and not pd.isna(cell["budget"])
        share = f"({100 * cell[name] / before[name]:.0f} %)" if pruned and before is not None else ""
        return Entry(f"{scale * cell[name]:.{digits}f}", share)

    groups = []
    for _, group in by_budget(cells):
        rows = [
            Row(
                [
                    Entry(cell["label"]),
                    Entry(f"{cell['layer_average']:.0f}"),
                    cost(cell, "prefill_tflops", 2, factor),
                    cost(cell, "llm_visual_tflops", 2, factor),
                    cost(cell, "kv_mib", 2 if giga else 0),
                    _measured(cell["llm_prefill_ms"], "{:.1f}"),
                    _measured(cell["prefill_speedup"], "{:.2f}×"),
                    _measured(cell["ttft_ms"], "{:.1f}"),
                    _measured(cell["ttft_speedup"], "{:.2f}×"),
                    _measured(cell["peak_mib"], "{:.1f}" if giga else "{:.0f}"),
                ]
            )
            for _, cell in group.iterrows()
        ]
        groups.append(Group(heading(group), rows))
    column, device = cells["column"].iloc[0], cells["device"].iloc[0]
    identical = [
        "model", "column", "device", "pruner", "variant", "budget", "seeds", "visual", "kept",
        "layer_average",
    ]  # fmt: skip
    return Table(
        name="efficiency",
        title=f"Cost per question of {column} ({setup_title(cells)})",
        columns=[
            "Method", "Tokens", f"Prefill, {unit}", f"LLM visual, {unit}", "KV, MiB", "LLM prefill, ms",
            "Speed-up", "First token, ms", "Speed-up", "Peak, MiB",
        ],
        groups=groups,
        notes=[
            "Tokens: visual tokens, mean over the LLM's layers. Prefill: FLOPs of all stages, 2 per "
            "multiply-accumulate. LLM visual: FLOPs of the LLM's layers on visual tokens only. In "
            "parentheses: the share of the unpruned model's cost.",
            *([] if cells["llm_prefill_ms"].isna().all() else [_LATENCY.format(device)]),
        ],
        data=cells[[*identical, *_COSTS]].rename(columns={"column": "benchmark"}),
    )  # fmt: skip


_LATENCY = (
    "Latency: medians at batch size 1 on {}; LLM prefill includes the pruner. Speed-up: relative to the "
    "unpruned model, measured in turns in the same process, so it may differ from the ratio of two rows."
)


def _measured(value: float, template: str) -> Entry:
    return Entry() if pd.isna(value) else Entry(template.format(value))

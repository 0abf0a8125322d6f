"""The table of a sweep's results, printed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from script_exp.cell.shown import accuracy_text
from script_exp.errors import UserError, on_one_line
from script_exp.results.result_file import read_result
from script_exp.sweeps.record import CellState
from script_exp.terminal.progress import note, print_table


def print_results(cells: Sequence[CellState]) -> None:
    """Print one line per finished cell, if any, without columns that say nothing."""
    results = {}
    for cell in cells:
        if cell.state == "finished" and cell.run_dir is not None:
            try:
                results[cell.run_dir] = read_result(cell.run_dir / "result.json")
            except (OSError, UserError) as error:  # named, and the others are shown
                note(f"left out of the table: {error}")
    if not results:
        return
    rows = [_row(result) for result in results.values()]
    table = Table()
    for name in rows[0]:
        values = [row[name] for row in rows]
        says_nothing = set(values) == {"-"}
        is_same = name in ("model", "benchmark", "seed") and len(set(values)) == 1
        if says_nothing or is_same:
            continue
        is_text = name in ("model", "benchmark", "method")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    names = [str(column.header) for column in table.columns]
    for row in rows:
        table.add_row(*(Text(on_one_line(row[name])) for name in names))
    print_table(table)
    if any(row["accuracy"].endswith("*") for row in rows):
        print("* partial: limit is set, or samples were skipped")


def _row(result: dict[str, Any]) -> dict[str, str]:
    cell, latency, accuracy = result["cell"], result["latency"] or {}, result["accuracy"]
    variant = f" ({cell['variant']})" if cell["variant"] else ""
    speed_up = latency.get("llm_prefill_speedup") if cell["budget"] is not None else None
    return {
        "model": cell["model"],
        "benchmark": cell["benchmark"],
        "method": cell["pruner"] + variant,
        "budget": "-" if cell["budget"] is None else str(cell["budget"]),
        "seed": str(cell["seed"]),
        "accuracy": accuracy_text(accuracy) + ("*" if accuracy and accuracy["partial"] else ""),
        "tokens": f"{result['tokens']['layer_average']:g}",
        "prefill speed-up": "-" if speed_up is None else f"{speed_up:.2f}x",
    }

"""Print a cell: the config as a tree, the result as a table, and one line of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from script_exp.benchmarks import METRICS
from script_exp.errors import on_one_line
from script_exp.terminal.called import as_called

# The last line of stdout is JSON; progress goes to stderr (terminal/progress.py).
_stdout = Console(soft_wrap=True)
_NOTHING = "-"


def print_config(config: dict[str, Any]) -> None:
    """Print the composed config as a tree."""
    tree = Tree("config")
    _grow(tree, config)
    _stdout.print(tree, soft_wrap=False, overflow="fold")  # else long values would be cut


def print_result(
    result: dict[str, Any],
    unpruned: dict[str, Any] | None,
    run_dir: Path,
    more: Sequence[str] = (),
    *,
    is_compared: bool,
) -> None:
    """Print the result next to the unpruned one, the run directory, and one line of JSON.

    Rows and columns of the table in which nothing was measured are left out.

    Args:
        result: contents of ``result.json``.
        unpruned: those of the unpruned run; None if there is none.
        run_dir: the run directory.
        more: lines to print above the one of JSON.
        is_compared: whether an unpruned run was looked for.
    """
    cell, latency = result["cell"], result["latency"] or {}
    name = cell["pruner"] if cell["budget"] is None else f"{cell['pruner']} @ {cell['budget']}"
    title = f"{cell['model']} on {cell['benchmark']}, {_samples(result)}"
    is_pruned = cell["budget"] is not None
    columns = [unpruned, result] if is_pruned else [result]
    # Only times from the same process compare fairly; a run's latency also has the unpruned model's.
    timed = [latency.get("unpruned"), latency] if is_pruned else [latency]
    rows = [
        (
            _accuracy_label(result["accuracy"]),
            [accuracy_text(one and one["accuracy"]) for one in columns],
            _ratio_of(columns, "accuracy", "value"),
        ),
        ("visual tokens kept", [_number(one, "tokens", "kept") for one in columns], None),
        ("  mean over LLM layers", [_number(one, "tokens", "layer_average") for one in columns], None),
        (
            "prefill, GFLOPs",
            [_giga(one, "prefill_total") for one in columns],
            _ratio_of(columns, "flops", "prefill_total"),
        ),
        (
            "  LLM, visual tokens only",
            [_giga(one, "llm_visual_only") for one in columns],
            _ratio_of(columns, "flops", "llm_visual_only"),
        ),
        ("KV cache, MiB", [_mebi(one) for one in columns], None),
        (
            "LLM prefill, ms",
            [_milliseconds(one, "llm_prefill_ms") for one in timed],
            latency.get("llm_prefill_speedup"),
        ),
        (
            "time to first token, ms",
            [_milliseconds(one, "ttft_ms") for one in timed],
            latency.get("ttft_speedup"),
        ),
        ("peak memory, MiB", [_peak(one) for one in timed], None),
    ]
    lines = [
        [label, *cells, "" if ratio is None else f"{ratio:.2f}x"]
        for label, cells, ratio in rows
        if set(cells) != {_NOTHING}
    ]
    headers = ["", *(["unpruned"] if is_pruned else []), name, "ratio"]
    _stdout.print(_without_empty_columns(title, headers, lines))
    if is_pruned and unpruned is None and is_compared:
        _stdout.print("No unpruned run to compare with; run pruner=none to get one.")
    print(f"run directory: {on_one_line(str(run_dir))}")
    make = as_called("python analysis/make.py")
    print(f"tables and figures of all runs: {make} {quote(str(run_dir.parents[2]))}")
    for line in more:
        print(on_one_line(line))
    last_line = {
        "run_dir": str(run_dir),
        "accuracy": result["accuracy"]["value"] if result["accuracy"] else None,
        "tokens_kept": result["tokens"]["kept"],
        "llm_prefill_ms": latency.get("llm_prefill_ms"),
    }
    print(json.dumps(last_line), flush=True)


def _without_empty_columns(title: str, headers: list[str], lines: list[list[str]]) -> Table:
    """Return the table without the columns that say nothing, such as one of no unpruned run."""
    shown = [place for place in range(len(headers)) if {line[place] for line in lines} - {_NOTHING, ""}]
    table = Table(title=Text(title, style="italic"))
    for place in shown:
        table.add_column(Text(headers[place]), justify="right" if place else "left")
    for line in lines:
        table.add_row(*(Text(line[place]) for place in shown))
    return table


def print_unmerged(run_dir: Path) -> None:
    """Print the line of JSON for a shard that is not the last to finish: the same keys, without a result."""
    nothing = dict.fromkeys(("accuracy", "tokens_kept", "llm_prefill_ms"))
    print(json.dumps({"run_dir": str(run_dir), **nothing}), flush=True)


def _accuracy_label(accuracy: dict[str, Any] | None) -> str:
    """Return the row's label with the metric's unit."""
    metric = None if accuracy is None else METRICS.get(accuracy["metric"])
    return "accuracy, %" if metric is None else f"accuracy, {metric.unit}"


def _samples(result: dict[str, Any]) -> str:
    accuracy = result["accuracy"]
    if accuracy is None:
        if result["provenance"][-1]["weights"] == "random":
            return "random weights: no accuracy"
        return "not scored here: a server scores the submission file in the run directory"
    skipped = accuracy["skipped"]
    why = f"{skipped} skipped, see skipped.jsonl" if skipped else "limit is set"
    return f"{accuracy['n']} samples" + (f" (partial: {why})" if accuracy["partial"] else "")


def _grow(tree: Tree, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _grow(tree.add(Text(key)), value)
        else:
            tree.add(Text(on_one_line(f"{key}: {value}")))


def accuracy_text(accuracy: dict[str, Any] | None, digits: int = 1) -> str:
    """Return the accuracy of a ``result.json`` with its interval as text."""
    if accuracy is None:
        return _NOTHING
    scale = accuracy["scale"]
    value = f"{scale * accuracy['value']:.{digits}f}"
    if accuracy["ci95"] is None:
        return value
    low, high = accuracy["ci95"]
    return f"{value} [{scale * low:.1f}, {scale * high:.1f}]"


def _number(result: dict[str, Any] | None, part: str, key: str) -> str:
    return _NOTHING if result is None else f"{result[part][key]:g}"


def _giga(result: dict[str, Any] | None, key: str) -> str:
    return _NOTHING if result is None else f"{result['flops'][key] / 1e9:.3f}"


def _mebi(result: dict[str, Any] | None) -> str:
    return _NOTHING if result is None else f"{result['kv_cache_bytes'] / 2**20:.3f}"


def _milliseconds(latency: dict[str, Any] | None, key: str) -> str:
    return f"{latency[key]:.1f}" if latency else _NOTHING


def _peak(latency: dict[str, Any] | None) -> str:
    peak = latency["peak_memory_bytes"] if latency else None
    return _NOTHING if peak is None else f"{peak / 2**20:.1f}"


def _ratio_of(columns: Sequence[dict[str, Any] | None], part: str, key: str) -> float | None:
    """Return pruned over unpruned for accuracy, unpruned over pruned for costs."""
    if len(columns) < 2 or any(column is None or column[part] is None for column in columns):
        return None
    unpruned, pruned = (column[part][key] for column in columns if column is not None)
    top, bottom = (pruned, unpruned) if part == "accuracy" else (unpruned, pruned)
    return float(top / bottom) if bottom else None

"""Print tables of all finished runs: accuracy by pruner and budget, and what each cell costs.

python analysis/tables.py                                  # all runs in outputs/, as text
python analysis/tables.py outputs --format latex --model tiny --benchmark shapes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from script_exp.benchmarks import METRICS
from script_exp.errors import UserError
from script_exp.results.compare import compare
from script_exp.results.read import load_runs, load_samples

_ORDER = ["none", "random", "graph", "query", "script", "trim", "fastv", "script_released"]
_KEYS = ["model", "weights", "benchmark", "seed"]


def accuracy_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows: methods; columns: budgets, largest first. Cells: accuracy in % with the retained share.

    Args:
        runs: rows of one model, benchmark and seed, with a ``label``.
    """
    cells: dict[str, dict[str, str]] = {}
    for _, run in runs.sort_values("budget", ascending=False, na_position="first").iterrows():
        text = f"{run['scale'] * run['accuracy']:.1f}"
        unpruned = _unpruned(run, runs)
        if unpruned is not None and unpruned["accuracy"]:
            text += f" ({100 * run['accuracy'] / unpruned['accuracy']:.0f} %)"
        column = "all" if run["pruner"] == "none" else f"{run['budget']:g}"
        cells.setdefault(column, {})[run["label"]] = text
    table = pd.DataFrame(cells).fillna("")
    return table.reindex(sorted(map(str, table.index), key=_rank)).rename_axis(f"{_header(runs)} (retained)")


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run: accuracy with interval and paired difference, tokens, FLOPs, KV cache, prefill."""
    rows = []
    ordered = runs.assign(rank=runs["label"].map(_rank))
    for _, run in ordered.sort_values(
        ["budget", "rank"], ascending=[False, True], na_position="first"
    ).iterrows():
        rows.append(
            {
                "pruner": run["label"],
                "budget": "all" if pd.isna(run["budget"]) else f"{run['budget']:g}",
                "accuracy": _measured(run["accuracy"], "{:.1f}", run["scale"]),
                "95 % interval": _interval(run),
                "against unpruned": _difference(run, _unpruned(run, runs)),
                "tokens": f"{run['kept']:g}",
                "layer mean": f"{run['layer_average']:g}",
                "prefill, GFLOPs": f"{1000 * run['prefill_tflops']:.3f}",
                "LLM visual, GFLOPs": f"{1000 * run['llm_visual_tflops']:.3f}",
                "KV, MiB": f"{run['kv_mib']:.2f}",
                "LLM prefill, ms": _measured(run["llm_prefill_ms"], "{:.1f}"),
                "speed-up": _measured(run["speedup"], "{:.2f}x"),
            }
        )
    return pd.DataFrame(rows).set_index("pruner")


def tables(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables, for each model, benchmark and seed; random weights apart."""
    for (model, _, benchmark, seed), group in runs.groupby(_KEYS):
        title = f"{model} on {benchmark}, seed {seed}"
        if group["embedded"].any():
            title += " (the embedded tiny model: says nothing about 7B models)"
        if (group["weights"] == "random").any():
            title += " (random weights: no accuracy)"
        labeled = group.assign(label=_labels(group))
        answered = labeled[labeled["accuracy"].notna()]
        if len(answered):
            yield title, accuracy_table(answered)
        yield f"{title}: cost", cost_table(labeled)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--format", choices=["text", "markdown", "latex"], default="text")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--benchmark", help="only this benchmark")
    arguments = parser.parse_args()

    runs = load_runs(arguments.outputs)
    for problem in runs.problems:
        print(f"left out: {problem}", file=sys.stderr)
    frame = runs.frame
    for key in ("model", "benchmark"):
        wanted = getattr(arguments, key)
        if wanted is not None and not frame.empty:
            frame = frame[frame[key] == wanted]
    if frame.empty:
        print(
            f"error: no finished runs in {arguments.outputs}; python runners/run.py makes one",
            file=sys.stderr,
        )
        return 2
    try:
        for title, table in tables(frame):
            print(_render(title, table, arguments.format))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _render(title: str, table: pd.DataFrame, style: str) -> str:
    if style == "latex":
        return _latex(title, table)
    if style == "markdown":
        return _markdown(title, table)
    console = Console(width=200)
    rich_table = Table(title=title, title_justify="left")
    for column in [str(table.index.name), *map(str, table.columns)]:
        rich_table.add_column(column)
    for name, row in table.iterrows():
        rich_table.add_row(*(Text(str(cell)) for cell in [name, *row]))
    with console.capture() as captured:
        console.print(rich_table)
    return captured.get()


def _markdown(title: str, table: pd.DataFrame) -> str:
    header = [str(table.index.name), *map(str, table.columns)]
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join([str(name), *map(str, row)]) + " |" for name, row in table.iterrows()]
    return "\n".join(lines) + "\n"


def _latex(title: str, table: pd.DataFrame) -> str:
    """A booktabs table that compiles as it is (``\\usepackage{booktabs}``)."""
    header = [str(table.index.name), *map(str, table.columns)]
    rows = [header, *([str(name), *map(str, row)] for name, row in table.iterrows())]
    escaped = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escape(title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule", escaped[0], r"\midrule"]
    return "\n".join([*lines, *escaped[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _escape(text: str) -> str:
    for character in "%&_#$":
        text = text.replace(character, f"\\{character}")
    return text


def _labels(runs: pd.DataFrame) -> pd.Series:
    """Method with whatever tells runs apart.

    That is: settings that are not the defaults, the number of samples if not all count, and the run's hash
    where two runs of one cell are left.
    """
    labels = runs["pruner"].where(runs["variant"] == "", runs["pruner"] + " (" + runs["variant"] + ")")
    count = runs["n"].astype(str)
    labels = labels.where(~runs["partial"] | (runs["skipped"] > 0), labels + ", first " + count)
    left_out = ", " + count + " samples, " + runs["skipped"].astype(str) + " skipped"
    labels = labels.where(runs["skipped"] == 0, labels + left_out)
    twice = runs.assign(label=labels).duplicated(["label", "budget"], keep=False)
    return labels.where(~twice, labels + " #" + runs["identity"])


def _rank(label: str) -> tuple[int, str]:
    name = label.split(" ")[0].rstrip(",")
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), label)


def _unpruned(run: pd.Series, runs: pd.DataFrame) -> pd.Series | None:
    """The unpruned run with otherwise the same settings; None if it is missing, or for that run itself."""
    found = runs[runs["identity"] == run["unpruned_identity"]]
    return found.iloc[0] if run["pruner"] != "none" and len(found) else None


def _interval(run: pd.Series) -> str:
    if pd.isna(run["accuracy"]):
        return ""
    return f"{run['scale'] * run['ci_low']:.1f} to {run['scale'] * run['ci_high']:.1f}"


def _difference(run: pd.Series, unpruned: pd.Series | None) -> str:
    if unpruned is None or pd.isna(run["accuracy"]):
        return ""
    result = compare(
        METRICS[run["metric"]], load_samples(Path(run["run_dir"])), load_samples(Path(unpruned["run_dir"]))
    )
    low, high = (run["scale"] * end for end in result.interval)
    return f"{run['scale'] * result.difference:+.1f} [{low:+.1f}, {high:+.1f}], -{result.lost} +{result.won}"


def _header(runs: pd.DataFrame) -> str:
    """What the accuracies are, of rows of one benchmark."""
    return "accuracy, %" if (runs["scale"] == 100).all() else f"{runs['metric'].iloc[0]}, points"


def _measured(value: float | None, template: str, scale: float = 1) -> str:
    return "" if value is None or pd.isna(value) else template.format(scale * value)


if __name__ == "__main__":
    sys.exit(main())

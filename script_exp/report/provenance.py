"""Where the numbers come from: a table of environments, and a table of runs that refers to them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from script_exp.analysis.cells import rank
from script_exp.analysis.table import Entry, Group, Row, Table

_TOLD = {
    "Python": "python", "Device": "device", "CUDA": "cuda", "Threads": "threads", "Dtype": "dtype",
    "Attention": "attention", "Compile": "compile", "Placement": "placement", "Quantization": "quantization",
    "Weights": "weights", "Checkpoint": "checkpoint", "Host": "host", "System": "system",
}  # fmt: skip
"""Columns of the table of environments, and their keys in a run's provenance."""


def provenance_tables(runs: pd.DataFrame, place: str) -> tuple[Table, Table]:
    """Return the table of environments, and the table of runs, which refers to environments by number.

    A run takes one row, however long its provenance, so that a page of thousands of runs stays small.

    Args:
        runs: ``Cells.runs``.
        place: the folder that paths are relative to.
    """
    numbers: dict[tuple[str, ...], int] = {}
    uses: dict[tuple[str, ...], int] = {}
    own = []
    for text in runs["provenance"]:
        rows = list(dict.fromkeys(_environment(process) for process in json.loads(text)))
        own.append(", ".join(str(numbers.setdefault(row, len(numbers) + 1)) for row in rows))
        for row in rows:
            uses[row] = uses.get(row, 0) + 1
    environments = Table(
        name="environments",
        title="Environments",
        columns=["No.", "Code", *_TOLD, "Packages", "Runs"],
        groups=[
            Group(
                "",
                [
                    Row([Entry(str(number)), *map(Entry, row), Entry(str(uses[row]))])
                    for row, number in numbers.items()
                ],
            )
        ],
        data=pd.DataFrame(),
        notes=["Code: git commit; + marks uncommitted changes."],
        texts=3 + len(_TOLD),
    )
    return environments, _run_table(runs.assign(environments=own), place)


def _run_table(runs: pd.DataFrame, place: str) -> Table:
    groups = []
    for (model, column), group in runs.groupby(["model", "column"], sort=True):
        order = group.assign(_rank=group["label"].map(rank)).sort_values(
            ["budget", "_rank", "seed"], ascending=[False, True, True], na_position="first"
        )
        groups.append(Group(f"{model} on {column}", [_run(run, place) for _, run in order.iterrows()]))
    return Table(
        name="runs",
        title="Runs",
        columns=[
            "Method", "Budget", "Seed", "Identity", "Environment", "Started, UTC", "Folder", "Samples",
            "Accuracy", "Scored again",
        ],
        groups=groups,
        data=pd.DataFrame(),
        notes=[
            f"Folder: relative to {place}; its config.yaml has every setting. Identity: hash of the settings "
            "that can change the result. Environment: number in the table above; several if several "
            "processes worked on the run. Started: the last of them."
        ],
        texts=7,
    )  # fmt: skip


def _run(run: pd.Series, place: str) -> Row:
    entries = [
        run["label"],
        "" if pd.isna(run["budget"]) else f"{run['budget']:g}",
        run["seed"],
        run["identity"],
        run["environments"],
        str(run["finished"])[:16].replace("T", " "),
        str(run["place"]).removeprefix(f"{place}/"),
        run["n"] or "",
        "" if pd.isna(run["accuracy"]) else f"{run['scale'] * run['accuracy']:.2f}",
        run["rescored"] or "",
    ]
    return Row([Entry("" if pd.isna(value) else str(value)) for value in entries])


def _environment(process: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of one process; unknown values are empty."""
    git = process.get("git") or {}
    packages = process.get("packages") or {}
    commit = str(git.get("commit") or "")[:12]
    return (
        commit + (" +" if git.get("dirty") else ""),
        *("" if process.get(key) is None else str(process[key]) for key in _TOLD.values()),
        ", ".join(f"{name} {version}" for name, version in packages.items()),
    )

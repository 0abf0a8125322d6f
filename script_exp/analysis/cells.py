"""From runs to cells: what is comparable with what, and one number with its interval over all seeds.

A table or figure never mixes runs of two setups, and never puts runs of two protocols into one column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from script_exp.results.read import COLUMNS

SETUP = ["model", "checkpoint", "weights", "device_type", "dtype", "attention", "compile", "limit"]
"""Columns in which all runs of one table agree."""

_CELL = [*SETUP, "column", "label", "budget"]

_MEANS = [
    "visual", "kept", "layer_average", "budget_crops", "offered", "prefill_tflops", "llm_visual_tflops",
    "kv_mib", "peak_mib",
    *(name for name in COLUMNS if name.endswith(("_ms", "_speedup"))),
]  # fmt: skip
"""Columns that are averaged over seeds."""

# Settings of a benchmark that leave a number comparable.
_HARMLESS = {"on_error"}


@dataclass(frozen=True)
class Cells:
    """One row per cell, and what is wrong with the runs behind them.

    Attributes:
        frame: the columns of SETUP; ``column`` (the benchmark, with its protocol where there are several),
            ``benchmark``, ``pruner``, ``variant``, ``label`` (method with what tells it apart), ``budget``;
            ``seeds``, ``accuracy``, ``low``, ``high``, ``unpruned`` and ``retained`` (percent of it), all
            in the metric's unit as printed; ``metric``, ``n``, ``skipped``, ``device``, and the means of
            costs. ``runs`` are the labels of its rows in ``runs``.
        runs: the runs with ``column`` and ``label``.
        problems: one sentence per cell with runs that disagree.
    """

    frame: pd.DataFrame
    runs: pd.DataFrame
    problems: list[str] = field(default_factory=list)

    def setups(self) -> Iterator[pd.DataFrame]:
        """The cells of each setup."""
        for _, group in self.frame.groupby(SETUP, dropna=False, sort=True):
            yield group


def make_cells(runs: pd.DataFrame) -> Cells:
    """Group runs (:func:`script_exp.results.read.load_runs`) into cells."""
    runs = runs.reset_index(drop=True)
    runs["column"] = _columns(runs)
    runs["label"] = runs["pruner"].where(runs["variant"] == "", runs["pruner"] + " (" + runs["variant"] + ")")
    runs, problems = _one_run_per_seed(runs)
    by_identity = runs.drop_duplicates("identity").set_index("identity")["accuracy"]
    groups = runs.groupby(_CELL, dropna=False, sort=False)
    rows = pd.DataFrame([_cell(group, by_identity) for _, group in groups])
    frame = pd.concat([rows, groups[_MEANS].mean().reset_index(drop=True)], axis=1)
    if len(frame):
        order = frame["label"].map(rank)
        frame = frame.assign(_order=order).sort_values(
            ["budget", "_order", "column"], ascending=[False, True, True], na_position="first"
        )
    return Cells(frame.drop(columns="_order", errors="ignore").reset_index(drop=True), runs, problems)


def rank(label: str) -> tuple[int, str]:
    """Order of methods: the two bounds first, Script and its modules last, as papers have it."""
    name = label.split(" ")[0]
    fixed = {"none": 0, "unpruned": 0, "random": 1, "graph": 3, "query": 4, "script": 5, "script_released": 6}
    return fixed.get(name, 2), label


def is_main(cells: pd.DataFrame) -> pd.Series:
    """Whether a cell is its method's main one, rather than one of several variants of it."""
    labels = cells.groupby("pruner")["label"].transform("nunique")
    return (cells["variant"] == "") & (cells["label"] == cells["pruner"]) | (labels == 1)


def for_figures(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of a setup with labels that fit a legend, and at most three variants of a method.

    A method with more is a sweep, which has a figure of its own: of it the one with the published defaults is
    left, if it was run. Settings are left out of ``label`` where a method has one variant alone.
    """
    variants = cells.groupby("pruner")["label"].transform("nunique")
    main = is_main(cells)
    has_main = main.groupby(cells["pruner"]).transform("any")
    few = cells[(variants <= 3) | main | ~has_main]
    alone = few.groupby("pruner")["label"].transform("nunique") == 1
    labels = few["label"].where(~alone, few["pruner"])
    return few.assign(label=labels.where(few["pruner"] != "none", "unpruned"))


def setup_title(cells: pd.DataFrame) -> str:
    """What the cells of one setup were run with, in words, with what has to be said about them."""
    first = cells.iloc[0]
    parts = [f"{first['model']}, {first['dtype']}"]
    if first["compile"] != "off":
        parts[0] += f", compiled ({first['compile']})"
    if first["weights"] == "random":
        parts.append("random weights: no accuracy")
    elif first["checkpoint"] == "embedded":
        parts.append("the embedded tiny model: says nothing about 7B models")
    if not pd.isna(first["limit"]):
        parts.append(f"only the first {first['limit']} samples")
    return "; ".join(parts)


def column_notes(cells: pd.DataFrame) -> list[str]:
    """Of every benchmark its protocol, version, number of samples, and what is missing."""
    notes = []
    for column, group in cells.groupby("column", sort=True):
        settings = ", ".join(
            f"{key} {value}" for key, value in json.loads(group["benchmark_settings"].iloc[0]).items()
        )
        counts = sorted(set(group["n"].dropna()))
        samples = " or ".join(f"{count:,}" for count in counts if count) or "no scored"
        version = f"prompt version {group['prompt_version'].iloc[0]}"
        notes.append(f"{column}: " + ", ".join(filter(None, [settings, version, f"{samples} samples"])) + ".")
    if (cells["skipped"] > 0).any():
        notes.append("†: samples were skipped because their images are missing or broken; not ranked.")
    return notes


def _columns(runs: pd.DataFrame) -> pd.Series:
    """The benchmark's name, with whatever tells apart the protocols that the runs followed."""
    protocol = ["benchmark", "benchmark_settings", "prompt_version", "protocol_version"]
    labels: dict[tuple[Any, ...], str] = {}
    for name, group in runs[protocol].drop_duplicates().groupby("benchmark"):
        keys = list(group.itertuples(index=False, name=None))
        plain = [
            {key: value for key, value in json.loads(settings).items() if key not in _HARMLESS}
            | {"prompt": prompt, "code": code}
            for _, settings, prompt, code in keys
        ]
        differing = [key for key in plain[0] if len({str(one.get(key)) for one in plain}) > 1]
        for key, own in zip(keys, plain, strict=True):
            told = [str(own[part]) if part == "protocol" else f"{part} {own.get(part)}" for part in differing]
            labels[key] = f"{name} ({', '.join(told)})" if told else str(name)
    found = [labels[key] for key in runs[protocol].itertuples(index=False, name=None)]
    return pd.Series(found, index=runs.index, dtype="string")


def _one_run_per_seed(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Runs of which no two are of one cell and seed; those that were are named, and told apart by hash."""
    problems = []
    newest = runs.sort_values("finished").drop_duplicates("identity", keep="last").sort_index()
    for _, copies in runs[runs.duplicated("identity", keep=False)].groupby("identity"):
        if copies["accuracy"].nunique(dropna=False) > 1:
            used = newest[newest["identity"] == copies["identity"].iloc[0]]["place"].iloc[0]
            problems.append(f"{_both(copies)}: the same settings, so {used}, the newest, is used")
    twice = newest.duplicated([*_CELL, "seed"], keep=False)
    for _, rivals in newest[twice].groupby([*_CELL, "seed"], dropna=False):
        problems.append(
            f"{_both(rivals)}: other settings than the table shows; both are in it, with their hash"
        )
    label = newest["label"].where(~twice, newest["label"] + " #" + newest["identity"])
    return newest.assign(label=label), problems


def _both(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    budget = "" if pd.isna(first["budget"]) else f" at {first['budget']:g}"
    said = " and ".join(f"{run['accuracy']:.4f} ({run['place']})" for _, run in runs.iterrows())
    cell = f"{first['model']} on {first['column']}, {first['label']}{budget}, seed {first['seed']}"
    return f"several runs of one cell, {cell}: {said}"


def _cell(runs: pd.DataFrame, accuracies: pd.Series) -> dict[str, Any]:
    first = runs.iloc[0]
    own = (
        "benchmark",
        "benchmark_settings",
        "prompt_version",
        "pruner",
        "variant",
        "pruner_settings",
        "metric",
    )
    row = {key: first[key] for key in (*_CELL, *own)}
    row |= {
        "n": runs["n"].max(),
        "skipped": runs["skipped"].max(),
        "device": " and ".join(sorted(set(runs["device"]))),
        "seeds": len(runs),
        "runs": list(runs.index),
    }
    scale = first["scale"]
    row["accuracy"], row["low"], row["high"] = over_seeds(scale * runs[["accuracy", "ci_low", "ci_high"]])
    unpruned = scale * runs["unpruned_identity"].map(accuracies)
    row["unpruned"] = unpruned.mean() if unpruned.notna().all() else np.nan
    row["retained"] = 100 * row["accuracy"] / row["unpruned"] if row["unpruned"] else np.nan
    return row


def over_seeds(runs: pd.DataFrame) -> tuple[float, float, float]:
    """Mean and 95 % interval of (accuracy, low, high), a row per seed.

    The interval adds two independent errors in quadrature: that of the questions (the mean of the seeds' own
    bootstrap intervals) and that of the seeds (Student's t interval of their mean). One seed, or a method
    that does not draw, has the first alone.
    """
    values, low, high = (runs.iloc[:, column].to_numpy(dtype=float) for column in range(3))
    mean = float(values.mean())
    between = 0.0
    if len(values) > 1:
        between = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1)) / sqrt(len(values))
    below, above = float((values - low).mean()), float((high - values).mean())
    return mean, mean - sqrt(below**2 + between**2), mean + sqrt(above**2 + between**2)

"""Group runs into cells: the comparable runs of all seeds, as one number with its interval.

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

from script_exp.errors import on_one_line
from script_exp.results.read import COLUMNS
from script_exp.tiny import EMBEDDED

SETUP = [
    "model", "checkpoint", "weights", "device_type", "dtype", "attention", "compile", "quantization", "limit",
]  # fmt: skip
"""Columns that have the same value in all runs of one table."""

_CELL = [*SETUP, "column", "label", "budget"]

_MEANS = [
    "visual", "kept", "layer_average", "budget_crops", "offered", "prefill_tflops", "llm_visual_tflops",
    "kv_mib", "peak_mib",
    *(name for name in COLUMNS if name.endswith(("_ms", "_speedup"))),
]  # fmt: skip
"""Columns to average over seeds."""

_SHOWN = ["model", "checkpoint", "benchmark", "pruner", "variant", "device"]
"""Columns whose text is shown as it is."""

_HAIR_SPACE = "\N{HAIR SPACE}"  # in front of an underscore, without which legends leave a label out

# Benchmark settings that may differ between comparable numbers.
_HARMLESS = {"on_error"}


@dataclass(frozen=True)
class Cells:
    """One row per cell, and the problems of the runs behind the cells.

    Attributes:
        frame: the columns of SETUP; ``column`` (the benchmark, with its protocol if there are several),
            ``benchmark``, ``pruner``, ``variant``, ``label`` (the method with its distinguishing settings),
            ``budget``; ``accuracy``, ``low``, ``high`` and ``unpruned`` in the metric's unit as printed,
            ``retained`` in percent of ``unpruned``; ``seeds``, ``metric``, ``n``, ``skipped``, ``device``,
            ``told`` (what else tells the model's setups apart, in words),
            and the mean costs. ``runs`` holds the index labels of the cell's rows in the frame of runs.
        runs: the runs, with ``column`` and ``label`` added.
        problems: one sentence per cell whose runs disagree.
    """

    frame: pd.DataFrame
    runs: pd.DataFrame
    problems: list[str] = field(default_factory=list)

    def setups(self) -> Iterator[pd.DataFrame]:
        """Yield the cells of each setup."""
        for _, group in self.frame.groupby(SETUP, dropna=False, sort=True):
            yield group


def make_cells(runs: pd.DataFrame) -> Cells:
    """Group runs (:func:`script_exp.results.read.load_runs`) into cells."""
    runs = runs.reset_index(drop=True)
    for name in _SHOWN:
        runs[name] = runs[name].map(on_one_line, na_action="ignore").astype("string")
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
        frame = frame.assign(told=_told(frame))
    return Cells(frame.drop(columns="_order", errors="ignore").reset_index(drop=True), runs, problems)


def _told(cells: pd.DataFrame) -> pd.Series:
    """Return in words what else tells the setups of one model apart, where it differs; otherwise empty."""
    told = pd.Series("", index=cells.index)
    for name, word in (("checkpoint", "checkpoint"), ("device_type", "on"), ("attention", "attention")):
        several = cells.groupby("model")[name].transform(lambda own: own.nunique(dropna=False)) > 1
        told = told.where(~several, told + f", {word} " + cells[name].astype(str))
    return told


def rank(label: str) -> tuple[int, str]:
    """Return the sort key of a method: the two bounds first, Script and its modules last, as in papers."""
    name = label.split(" ")[0]
    fixed = {"none": 0, "unpruned": 0, "random": 1, "graph": 3, "query": 4, "script": 5, "script_released": 6}
    return fixed.get(name, 2), label


def is_main(cells: pd.DataFrame) -> pd.Series:
    """Return whether each cell is the main one of its method, rather than one of several variants."""
    labels = cells.groupby("pruner")["label"].transform("nunique")
    return (cells["variant"] == "") & (cells["label"] == cells["pruner"]) | (labels == 1)


def for_figures(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a setup with labels that fit a legend, and few variants per method.

    A method with more than three variants is a sweep, which has its own figure: only its published defaults
    are kept, if they were run. ``label`` leaves out the settings of a method with a single variant.
    """
    variants = cells.groupby("pruner")["label"].transform("nunique")
    main = is_main(cells)
    has_main = main.groupby(cells["pruner"]).transform("any")
    few = cells[(variants <= 3) | main | ~has_main]
    alone = few.groupby("pruner")["label"].transform("nunique") == 1
    labels = few["label"].where(~alone, few["pruner"]).where(few["pruner"] != "none", "unpruned")
    return few.assign(label=labels.where(~labels.str.startswith("_"), _HAIR_SPACE + labels))


def setup_title(cells: pd.DataFrame) -> str:
    """Describe a setup in words: what its runs have in common, and the caveats that apply."""
    first = cells.iloc[0]
    parts = [f"{first['model']}, {first['dtype']}"]
    if first["compile"] != "off":
        parts[0] += f", compiled ({first['compile']})"
    if not pd.isna(first["quantization"]) and first["quantization"] != "off":
        parts[0] += f", weights in {first['quantization']}"
    parts[0] += first["told"]
    if first["weights"] == "random":
        parts.append("random weights: no accuracy")
    elif first["checkpoint"] in EMBEDDED:
        parts.append("the embedded tiny model: says nothing about 7B models")
    if not pd.isna(first["limit"]):
        parts.append(f"only the first {first['limit']} samples")
    return "; ".join(parts)


def column_notes(cells: pd.DataFrame) -> list[str]:
    """Return a note on each benchmark (settings, prompt version, samples), and one on skipped samples."""
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
        notes.append("†: samples with missing or broken data were skipped; not ranked.")
    return notes


def _columns(runs: pd.DataFrame) -> pd.Series:
    """Return the benchmark's name, with the settings that tell the protocols of the runs apart."""
    protocol = ["benchmark", "benchmark_settings", "prompt_version", "protocol_version"]
    labels: dict[tuple[Any, ...], str] = {}
    for name, group in runs[protocol].drop_duplicates().groupby("benchmark"):
        keys = list(group.itertuples(index=False, name=None))
        plain = [
            {key: value for key, value in json.loads(settings).items() if key not in _HARMLESS}
            | {"prompt": prompt, "code": code}
            for _, settings, prompt, code in keys
        ]
        known = dict.fromkeys(key for one in plain for key in one)
        differing = [key for key in known if len({str(one.get(key)) for one in plain}) > 1]
        for key, own in zip(keys, plain, strict=True):
            told = [
                str(own[part]) if part == "protocol" else f"{part} {own[part]}"
                for part in differing
                if part in own
            ]
            labels[key] = f"{name} ({', '.join(told)})" if told else str(name)
    found = [labels[key] for key in runs[protocol].itertuples(index=False, name=None)]
    return pd.Series(found, index=runs.index, dtype="string")


def _one_run_per_seed(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep the newest of equal runs, label rival runs of one cell and seed by hash, and report both."""
    problems = []
    newest = runs.sort_values("finished").drop_duplicates("identity", keep="last").sort_index()
    for _, copies in runs[runs.duplicated("identity", keep=False)].groupby("identity"):
        if copies["accuracy"].nunique(dropna=False) > 1:
            used = newest[newest["identity"] == copies["identity"].iloc[0]]["place"].iloc[0]
            problems.append(f"{_both(copies)}: the settings are the same, so {used}, the newest, is used")
    twice = newest.duplicated([*_CELL, "seed"], keep=False)
    for _, rivals in newest[twice].groupby([*_CELL, "seed"], dropna=False):
        problems.append(
            f"{_both(rivals)}: they differ in settings not shown in tables, so each is shown with its hash"
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
        "device": " and ".join(sorted(set(runs["device"].dropna()))) or None,
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
    """Return the mean and its 95 % interval over rows of (accuracy, low, high), one per seed.

    The interval adds two independent errors in quadrature: over questions (the mean of the seeds' own
    intervals) and over seeds (Student's t interval of their mean). With one seed, or a method that
    does not draw, only the first remains.
    """
    values, low, high = (runs.iloc[:, column].to_numpy(dtype=float) for column in range(3))
    mean = float(values.mean())
    between = 0.0
    if len(values) > 1:
        between = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1)) / sqrt(len(values))
    below, above = float((values - low).mean()), float((high - values).mean())
    return mean, mean - sqrt(below**2 + between**2), mean + sqrt(above**2 + between**2)

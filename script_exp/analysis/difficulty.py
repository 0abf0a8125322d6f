"""What methods score on the questions that a smaller picture answers, and on those that it does not.

Source: the idea of VTC-Bench, arXiv 2510.07143, which finds that a picture made smaller (``downsample``)
beats many methods. The split is that of one finished run; a score of 0.5 or more counts as answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from script_exp.analysis.accuracy import by_budget, tokens_text
from script_exp.analysis.cells import Cells, over_seeds, setup_title
from script_exp.analysis.power_table import whole_runs
from script_exp.analysis.table import Entry, Group, Row, Table, mark_best
from script_exp.benchmarks.rules.metric import MeanScore, Scored
from script_exp.errors import UserError
from script_exp.measure.interval import metric_interval
from script_exp.results.read import load_samples

NAME = "difficulty"
_REFERENCE = "downsample"
_ENOUGH = 0.5
"""The lowest score of an answered sample."""

_NOTES = [
    "Mean scores in %, and half of their 95 % intervals, over units. Answered: the downsample run at the "
    f"same budget scores {_ENOUGH:g} or more. It may keep fewer tokens than the budget.",
    "The questions of a group differ from budget to budget. Guesses of the downsample run are in both "
    "groups: compare a method with random, not with 100 and 0.",
]


def difficulty_tables(cells: Cells) -> tuple[list[Table], list[str]]:
    """Return one table per setup, and one sentence for everything that is left out.

    A setup, benchmark and budget needs one ``downsample`` cell over the whole benchmark.
    """
    whole, problems = whole_runs(cells.runs)
    tables = []
    for setup in cells.setups():
        title = setup_title(setup)
        runs = setup["runs"].map(lambda own: whole.loc[whole.index.intersection(own)].sort_values("seed"))
        setup = setup.assign(whole=runs)[runs.map(len) > 0]
        groups, data = [], []
        for column, own in setup.groupby("column", sort=True):
            unpruned = own[own["budget"].isna()]
            for budget, beside in by_budget(own[own["budget"].notna()]):
                where = f"difficulty of {column} at {tokens_text(budget)} ({title})"
                try:
                    answered = _answered(beside)
                except (UserError, ValueError, TypeError, KeyError) as error:
                    problems.append(f"{where}: {error}")
                    continue
                shown = pd.concat([unpruned, beside[beside["pruner"] != _REFERENCE]])
                rows, left_out = _of_budget(shown, budget, answered)
                problems += [f"{where}: {why}" for why in left_out]
                if rows:
                    count = f"{int(answered.sum()):,} answered, {int((~answered).sum()):,} not"
                    groups.append(Group(f"{column}, {tokens_text(budget)}: {count}", _rows(rows)))
                    data += rows
        if data:
            columns = ["Method", "Answered", "Not answered"]
            heading = f"Questions that a smaller picture answers, and others ({title})"
            tables.append(Table(NAME, heading, columns, groups, pd.DataFrame(data), _NOTES))
    return tables, problems


def _answered(beside: pd.DataFrame) -> pd.Series:
    """Return for each sample whether the ``downsample`` run of the lowest seed answers it.

    Raises:
        UserError: if there is not exactly one such cell, or its samples cannot be read.
    """
    found = beside[beside["pruner"] == _REFERENCE]
    if len(found) != 1:
        there = ", ".join(found["label"]) or "there is none"
        raise UserError(f"expected one finished {_REFERENCE} run over the whole benchmark: {there}")
    answered: pd.Series = _samples(found["whole"].iloc[0].iloc[0])["score"] >= _ENOUGH
    return answered


def _samples(run: pd.Series) -> pd.DataFrame:
    if pd.isna(run["run_dir"]):
        raise UserError("its samples are not there, as for runs of Weights & Biases")
    return load_samples(Path(run["run_dir"]))


def _of_budget(
    cells: pd.DataFrame, budget: float, answered: pd.Series
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the numbers of every cell, and one sentence for every cell that is left out."""
    rows, left_out = [], [] if len(cells) else [f"there is no run beside {_REFERENCE}"]
    for _, cell in cells.iterrows():
        known = {"benchmark": cell["column"], "budget": budget, "method": cell["label"]}
        try:
            rows.append({**known, "pruner": cell["pruner"], **_numbers(cell["whole"], answered)})
        except (UserError, ValueError, TypeError, KeyError, AttributeError) as error:
            left_out.append(f"{cell['label']}: {error}")
    return rows, left_out


def _numbers(runs: pd.DataFrame, answered: pd.Series) -> dict[str, Any]:
    """Return mean, interval, samples and units of both groups over the seeds of a cell.

    Raises:
        UserError: if the samples of a run cannot be read, or are not those of ``answered``.
    """
    frames = [_samples(run) for _, run in runs.iterrows()]
    if any(set(frame.index) != set(answered.index) for frame in frames):
        raise UserError(f"it did not answer the same samples as {_REFERENCE}")
    numbers: dict[str, Any] = {}
    for name, group in (("answered", answered), ("not_answered", ~answered)):
        numbers[f"{name}_samples"] = int(group.sum())
        if group.any():
            own = [frame.loc[group.index[group]] for frame in frames]
            value, low, high = over_seeds(100 * pd.DataFrame([_mean(frame) for frame in own]))
            numbers |= {name: value, f"{name}_low": low, f"{name}_high": high}
            numbers[f"{name}_units"] = own[0]["unit"].nunique()
    return numbers


def _mean(samples: pd.DataFrame) -> tuple[float, float, float]:
    """Return the mean score and its interval, which is nan for a single unit."""
    metric = MeanScore()
    totals = metric.by_unit(cast(list[Scored], list(samples.itertuples())))
    low, high = metric_interval(totals, metric.value) or (np.nan, np.nan)
    return float(metric.value(totals.sum(axis=0))), low, high


def _rows(numbers: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows of one budget, with the best method of each group marked."""
    columns = [[Entry(one["method"]) for one in numbers]]
    for name in ("answered", "not_answered"):
        ranked = [None if one["pruner"] == "none" else one.get(name) for one in numbers]
        columns.append(mark_best([_entry(one, name) for one in numbers], ranked))
    return [Row(list(entries)) for entries in zip(*columns, strict=True)]


def _entry(one: dict[str, Any], name: str) -> Entry:
    if name not in one:
        return Entry()
    half = (one[f"{name}_high"] - one[f"{name}_low"]) / 2
    return Entry(f"{one[name]:.1f}", "" if np.isnan(half) else f"±{half:.1f}")

"""Choose which runs to put side by side, and which samples to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from script_exp.analysis.cells import SETUP, make_cells, rank
from script_exp.errors import UserError
from script_exp.results.read import load_samples

_SAME = [*(name for name in SETUP if name != "limit"), "column"]


def side_by_side(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of one model on one benchmark, one per method and budget, in the order of panels.

    Of several seeds the lowest is taken, and of several limits the longest run.

    Returns:
        rows of ``runs`` with ``column`` and ``label`` (:class:`script_exp.analysis.cells.Cells`): unpruned
        first, then by budget from the largest down, then by method. ``label`` leaves out the settings of a
        method with a single variant.

    Raises:
        UserError: if the runs are of several models or benchmarks.
    """
    runs = make_cells(runs).runs
    setups = runs[_SAME].drop_duplicates()
    if len(setups) > 1:
        differing = [name for name in _SAME if setups[name].nunique(dropna=False) > 1]
        there = "; ".join(
            ", ".join(f"{name} {row[name]}" for name in differing) for _, row in setups.iterrows()
        )
        raise UserError(
            f"expected runs of one model on one benchmark, not {there}: choose with --model, --benchmark or "
            "--experiment"
        )
    longest = runs.assign(_limit=runs["limit"].fillna(2**62)).sort_values(
        ["_limit", "seed"], ascending=[False, True]
    )
    one = longest.drop_duplicates(["label", "budget"]).drop(columns="_limit")
    alone = one.groupby("pruner")["label"].transform("nunique") == 1
    one = one.assign(label=one["label"].where(~alone, one["pruner"]))
    order = one.assign(_rank=one["label"].map(rank)).sort_values(
        ["budget", "_rank"], ascending=[False, True], na_position="first"
    )
    return order.drop(columns="_rank")


def answers(runs: pd.DataFrame, unread: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """Return the samples of every run, by its place.

    Args:
        runs: the runs.
        unread: collects a sentence for every run that cannot be read and is left out; None: that is an error.

    Raises:
        UserError: if a run, or with ``unread`` every run, cannot be read.
    """
    samples = {}
    for _, run in runs.iterrows():
        try:
            samples[run["place"]] = load_samples(Path(run["run_dir"]))
        except UserError as error:
            if unread is None:
                raise
            unread.append(str(error))
    if unread and not samples:
        raise UserError(f"none of the runs can be read; the first one: {unread[0]}")
    return samples


def worst_regressions(
    runs: pd.DataFrame, samples: Mapping[str, pd.DataFrame], most: int, method: str | None = None
) -> list[str]:
    """Return the ids of the samples that lose most to pruning, averaged over the pruned runs.

    Args:
        runs: from :func:`side_by_side`.
        samples: from :func:`answers`.
        most: the largest number of ids; samples that lose nothing are left out.
        method: use only the runs of this method.

    Raises:
        UserError: if the unpruned run or the method is missing.
    """
    unpruned = runs[runs["budget"].isna()]
    if unpruned.empty:
        raise UserError("no finished unpruned run to compare with; make one with pruner=none")
    pruned = runs[runs["budget"].notna()]
    if method is not None:
        pruned = _of(method, pruned, "--regressions")
    if pruned.empty:
        raise UserError("no finished pruned run to compare with the unpruned one")
    before = samples[unpruned["place"].iloc[0]]["score"]
    after = pd.concat([samples[place]["score"] for place in pruned["place"]], axis=1).mean(axis=1)
    lost = (before - after).dropna().loc[lambda loss: loss > 0]
    return [str(name) for name in lost.sort_values(ascending=False, kind="stable").index[:most]]


def disagreements(
    runs: pd.DataFrame, samples: Mapping[str, pd.DataFrame], methods: Sequence[str], most: int
) -> list[str]:
    """Return the ids of the samples that two methods answer differently, the largest difference first.

    Args:
        runs: from :func:`side_by_side`.
        samples: from :func:`answers`.
        methods: two methods, which are compared at all budgets that they have in common.
        most: the largest number of ids.

    Raises:
        UserError: if there are not two methods, or they have no budget in common.
    """
    if len(methods) != 2:
        raise UserError(f"--disagree={','.join(methods)}: expected two methods, for example script,graph")
    first, second = (
        _of(method, runs, "--disagree").drop_duplicates("budget").set_index("budget")["place"]
        for method in methods
    )
    budgets = [budget for budget in first.index if budget in second.index]
    if not budgets:
        raise UserError(f"--disagree={','.join(methods)}: expected two methods with a budget in common")
    differences = []
    for budget in budgets:
        one, other = samples[first[budget]], samples[second[budget]]
        common = one.index.intersection(other.index, sort=False)
        one, other = one.loc[common], other.loc[common]
        differs = one["answer"] != other["answer"]
        differences.append((1 + (one["score"] - other["score"]).abs())[differs])
    total = pd.concat(differences, axis=1).sum(axis=1)
    return [str(name) for name in total.sort_values(ascending=False, kind="stable").index[:most]]


def _of(method: str, runs: pd.DataFrame, option: str) -> pd.DataFrame:
    """Return the runs of a method, given by its ``label`` or its pruner."""
    own = runs[(runs["label"] == method) | (runs["pruner"] == method)]
    if own.empty:
        there = ", ".join(sorted(set(runs["label"]), key=rank))
        raise UserError(f"{option}={method}: expected one with a finished run: {there}")
    return own

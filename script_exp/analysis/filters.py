"""Choose runs: by model, benchmark, pruner and budget, or by experiment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from script_exp.errors import UserError


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options by which the commands in analysis/ choose runs; ``chosen`` reads them."""
    parser.add_argument("--model", type=comma_list, metavar="NAME,...", help="only these models")
    parser.add_argument("--benchmark", type=comma_list, metavar="NAME,...", help="only these benchmarks")
    parser.add_argument("--pruner", type=comma_list, metavar="NAME,...", help="only these, and unpruned runs")
    parser.add_argument("--budget", type=comma_list, metavar="K,...", help="only these, and unpruned runs")
    parser.add_argument("--experiment", metavar="NAME", help="only runs that experiment=NAME asks for")


def comma_list(given: str) -> list[str]:
    """Split a comma-separated list."""
    return [name.strip() for name in given.split(",")]


def chosen(runs: pd.DataFrame, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return the runs that match the options of ``add_filters``.

    Raises:
        UserError: if an option names something that no run has.
    """
    if runs.empty:
        return runs
    narrowed: list[str] = []  # the options so far, which the next one's runs have to match, too
    for column in ("model", "benchmark", "pruner", "budget"):
        names = getattr(arguments, column)
        if names is None:
            continue
        there = f"--{column}", " ".join(narrowed)
        if column == "budget":
            runs = at_budgets(runs, names, *there)
        else:
            unpruned = {"none"} & {*runs["pruner"]} if column == "pruner" else set()
            runs = only(runs, column, [*names, *unpruned], *there)
        narrowed.append(f"--{column}={','.join(names)}")
    if arguments.experiment is not None:
        from script_exp.analysis.experiment import of_experiment  # Hydra takes a moment to import

        runs = of_experiment(runs, arguments.experiment, any_model=arguments.model is not None)
    return runs


def only(
    runs: pd.DataFrame, column: str, names: Sequence[str], option: str = "", narrowed: str = ""
) -> pd.DataFrame:
    """Return the runs whose ``column`` is one of ``names``.

    Args:
        runs: the runs to choose from.
        column: the column.
        names: its values.
        option: what the message calls the column, for example ``--model``; by default its name.
        narrowed: the options by which ``runs`` were chosen, for the message.

    Raises:
        UserError: if one of them has no run; the message lists the names that have.
    """
    for name in names:
        check_known(name, sorted(set(runs[column])), option or column, narrowed)
    return runs[runs[column].isin(names)]


def at_budgets(
    runs: pd.DataFrame, budgets: Sequence[str], option: str = "budget", narrowed: str = ""
) -> pd.DataFrame:
    """Return the runs at one of ``budgets``, and the unpruned runs.

    Raises:
        UserError: if one of them has no run; the message lists the budgets that have.
    """
    known = {f"{budget:g}": budget for budget in sorted(set(runs["budget"].dropna()))}
    for budget in budgets:
        check_known(budget, list(known), option, narrowed)
    return runs[runs["budget"].isna() | runs["budget"].isin([known[budget] for budget in budgets])]


def check_known(name: str, known: Sequence[str], option: str, narrowed: str = "") -> None:
    """Refuse a name that no run has.

    Raises:
        UserError: if ``name`` is not in ``known``; the message lists those.
    """
    if name not in known:
        which = f" of {narrowed}" if narrowed else ""
        there = ", ".join(known) or "there is none"
        raise UserError(f"{option}={name}: expected one with a finished run{which}: {there}")

"""Choose runs: by model, benchmark, pruner and budget, or by experiment."""

from __future__ import annotations

import argparse

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
    if arguments.model is not None:
        runs = only(runs, "model", arguments.model)
    if arguments.benchmark is not None:
        runs = only(runs, "benchmark", arguments.benchmark)
    if arguments.pruner is not None:
        runs = only(runs, "pruner", [*arguments.pruner, *({"none"} & {*runs["pruner"]})])
    if arguments.budget is not None:
        runs = at_budgets(runs, arguments.budget)
    if arguments.experiment is not None:
        from script_exp.analysis.experiment import of_experiment  # Hydra takes a moment to import

        runs = of_experiment(runs, arguments.experiment, any_model=arguments.model is not None)
    return runs


def only(runs: pd.DataFrame, column: str, names: list[str]) -> pd.DataFrame:
    """Return the runs whose ``column`` is one of ``names``.

    Raises:
        UserError: if one of them has no run; the message lists the names that have.
    """
    for name in names:
        if not (runs[column] == name).any():
            there = ", ".join(sorted(set(runs[column])))
            raise UserError(f"--{column}={name}: expected one with a finished run: {there}")
    return runs[runs[column].isin(names)]


def at_budgets(runs: pd.DataFrame, budgets: list[str]) -> pd.DataFrame:
    """Return the runs at one of ``budgets``, and the unpruned runs.

    Raises:
        UserError: if one of them has no run; the message lists the budgets that have.
    """
    there = sorted(set(runs["budget"].dropna()))
    known = {f"{budget:g}": budget for budget in there}
    for budget in budgets:
        if budget not in known:
            raise UserError(f"--budget={budget}: expected one with a finished run: {', '.join(known)}")
    return runs[runs["budget"].isna() | runs["budget"].isin([known[budget] for budget in budgets])]

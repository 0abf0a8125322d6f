"""Which runs: by model, benchmark and pruner, or those that an experiment's sweep is made of."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from script_exp.errors import UserError, unknown_name

_COLUMNS = ("model", "benchmark", "pruner", "budget", "seed", "limit")
_IRRELEVANT = {"latency", "unpruned", "outputs", "tracker", "data", "batch_size"}
_EXPERIMENTS = Path(__file__).resolve().parents[2] / "conf" / "experiment"


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The options by which a command of analysis/ chooses runs; ``chosen`` reads them."""
    parser.add_argument("--model", type=comma_list, metavar="NAME,...", help="only these models")
    parser.add_argument("--benchmark", type=comma_list, metavar="NAME,...", help="only these benchmarks")
    parser.add_argument("--pruner", type=comma_list, metavar="NAME,...", help="only these, and unpruned runs")
    parser.add_argument("--budget", type=comma_list, metavar="K,...", help="only these, and unpruned runs")
    parser.add_argument("--experiment", metavar="NAME", help="only runs that experiment=NAME asks for")


def comma_list(given: str) -> list[str]:
    """The parts of a list with commas."""
    return [name.strip() for name in given.split(",")]


def chosen(runs: pd.DataFrame, arguments: argparse.Namespace) -> pd.DataFrame:
    """The runs that the options of ``add_filters`` leave.

    Raises:
        UserError: if an option names what no run has.
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
        runs = of_experiment(runs, arguments.experiment)
    return runs


def only(runs: pd.DataFrame, column: str, names: list[str]) -> pd.DataFrame:
    """The runs whose ``column`` is one of ``names``.

    Raises:
        UserError: if there is no run of one of them, with the names that there are.
    """
    for name in names:
        if not (runs[column] == name).any():
            there = ", ".join(sorted(set(runs[column])))
            raise UserError(f"--{column}={name}: expected one with a finished run: {there}")
    return runs[runs[column].isin(names)]


def at_budgets(runs: pd.DataFrame, budgets: list[str]) -> pd.DataFrame:
    """The runs at one of ``budgets``, and the unpruned ones.

    Raises:
        UserError: if there is no run at one of them, with the budgets that there are.
    """
    there = sorted(set(runs["budget"].dropna()))
    known = {f"{budget:g}": budget for budget in there}
    for budget in budgets:
        if budget not in known:
            raise UserError(f"--budget={budget}: expected one with a finished run: {', '.join(known)}")
    return runs[runs["budget"].isna() | runs["budget"].isin([known[budget] for budget in budgets])]


def of_experiment(runs: pd.DataFrame, name: str, folder: Path = _EXPERIMENTS) -> pd.DataFrame:
    """The runs that ``experiment=name`` asks for.

    A setting that it does not name may have any value, but for ``limit``: parts of a benchmark have to be
    asked for. What it says of a model beyond its name is not looked at.

    Args:
        folder: ``conf/experiment``.

    Raises:
        UserError: if there is no such experiment, or it sets something that runs are not told apart by.
    """
    file = folder / f"{name}.yaml"
    if not file.exists():
        raise unknown_name("experiment", name, (path.stem for path in folder.glob("*.yaml")))
    for key, values in (
        {"limit": ["None"]} | _wanted(yaml.safe_load(file.read_text(encoding="utf-8")))
    ).items():
        if key in _IRRELEVANT or key.startswith("model."):
            continue
        if key.startswith("pruner."):
            runs = runs[_with_setting(runs, key.removeprefix("pruner."), values)]
        elif key in _COLUMNS:
            runs = runs[_with_value(runs, key, values)]
        else:
            raise UserError(
                f"{file}: cannot choose runs by {key}; expected {', '.join(_COLUMNS)} or pruner.*"
            )
    return runs


def _wanted(config: dict[str, Any]) -> dict[str, list[str]]:
    """Every key that the experiment sets, with its values as texts."""
    wanted: dict[str, list[str]] = {}
    for key, value in config.items():
        if key == "hydra":
            for name, choices in value.get("sweeper", {}).get("params", {}).items():
                wanted[name] = [choice.strip() for choice in str(choices).split(",")]
        elif key == "defaults":
            chosen = [item for item in value if isinstance(item, dict)]
            for one in chosen:
                for group, name in one.items():
                    wanted[group.removeprefix("override ").lstrip("/")] = [str(name)]
        elif isinstance(value, dict):
            wanted |= {f"{key}.{name}": [str(inner)] for name, inner in value.items()}
        else:
            wanted[key] = [str(value)]
    return wanted


def _with_value(runs: pd.DataFrame, key: str, values: list[str]) -> pd.Series:
    if key in ("model", "benchmark", "pruner"):
        return runs[key].isin(values)
    if values == ["None"]:
        return runs[key].isna()
    return runs[key].isin([float(value) for value in values]) | (runs[key].isna() & (key == "budget"))


def _with_setting(runs: pd.DataFrame, key: str, values: list[str]) -> pd.Series:
    """Runs of pruners that do not have the setting, the unpruned one for example, stay."""
    found = [json.loads(settings).get(key) for settings in runs["pruner_settings"]]
    fits = [value is None or str(value) in values for value in found]
    return pd.Series(fits, index=runs.index, dtype=bool)

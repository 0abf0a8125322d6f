"""What the commands in analysis/ share: their options, choosing runs, and making the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from script_exp.analysis.accuracy import accuracy_tables, budget_tables
from script_exp.analysis.cells import Cells, make_cells, rank
from script_exp.analysis.efficiency import efficiency_tables
from script_exp.analysis.filters import add_filters, check_known, chosen, comma_list
from script_exp.analysis.published import load_published
from script_exp.analysis.significance import PairedTests, ablation_tables, pair_tables, unpruned_tables
from script_exp.analysis.table import Table
from script_exp.errors import UserError, printable
from script_exp.results.read import Runs, load_runs
from script_exp.results.read_lmms_eval import load_lmms_eval
from script_exp.results.read_wandb import load_wandb

PRINTED = ("accuracy", "efficiency")
"""Names of the tables that are printed to the terminal."""


@dataclass(frozen=True)
class Analysis:
    """The chosen runs and their tables.

    Attributes:
        cells: the runs, grouped into cells.
        tables: every table, in reading order.
        problems: one sentence for everything that was left out.
    """

    cells: Cells
    tables: list[Table]
    problems: list[str]


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`analyze` reads, and ``--strict``."""
    add_filters(parser)
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read this W&B project instead of a folder")
    parser.add_argument(
        "--lmms", type=Path, metavar="FOLDER", help="also read results that lmms-eval wrote to this folder"
    )
    parser.add_argument(
        "--reference", metavar="METHOD", default="script", help="test the others against this method (script)"
    )
    parser.add_argument("--published", action="store_true", help="also show published numbers, in gray")
    parser.add_argument("--strict", action="store_true", help="exit with code 1 if anything was left out")


def add_figure_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of figures: on or off, and which methods are in color."""
    parser.add_argument("--figures", choices=["on", "off"], default="on", help="off: tables only")
    parser.add_argument(
        "--highlight", type=comma_list, metavar="METHOD,...", default=None,
        help="methods in color, the others are gray (all, if there are at most 12)",
    )  # fmt: skip


def analyze(arguments: argparse.Namespace) -> Analysis:
    """Read the runs and make the tables; also report on stderr what was left out.

    Raises:
        UserError: if there are no runs, or an option names something that no run has.
    """
    runs = load_wandb(arguments.wandb) if arguments.wandb else load_runs(arguments.outputs)
    if arguments.lmms is not None:
        others = load_lmms_eval(arguments.lmms)
        frames = [frame for frame in (runs.frame, others.frame) if len(frame)]
        runs = Runs(pd.concat(frames) if frames else runs.frame, [*runs.problems, *others.problems])
    print_problems(runs.problems)
    cells = make_cells(chosen_runs(runs, arguments, arguments.wandb or arguments.outputs))
    print_problems(cells.problems)
    labels = set(cells.frame["label"])
    if arguments.reference not in {*labels, "script"}:
        raise UserError(f"--reference={arguments.reference}: expected one of {', '.join(sorted(labels))}")
    tests = PairedTests(cells)
    tables = _tables(cells, tests, arguments)
    print_problems(tests.problems)
    return Analysis(cells, tables, [*runs.problems, *cells.problems, *tests.problems])


def highlighted(arguments: argparse.Namespace, cells: Cells) -> list[str] | None:
    """Return the methods to draw in color; None if the figures choose.

    Raises:
        UserError: if one of them has no run.
    """
    names: list[str] | None = arguments.highlight
    known = sorted(set(cells.frame["pruner"]), key=rank)
    for name in names or ():
        check_known(name, known, "--highlight")
    return names


def print_problems(problems: Iterable[str]) -> None:
    """Report on stderr what was left out."""
    for problem in problems:
        print(f"left out: {printable(problem)}", file=sys.stderr)


def chosen_runs(runs: Runs, arguments: argparse.Namespace, place: Path | str) -> pd.DataFrame:
    """Return the runs that match the options of :func:`script_exp.analysis.filters.add_filters`.

    Raises:
        UserError: if there are none; the message names their ``place``.
    """
    if runs.frame.empty:
        raise UserError(f"no finished runs in {place}; python runners/run.py makes one")
    frame = chosen(runs.frame, arguments)
    if frame.empty:
        given = "these options" if arguments.experiment is None else f"experiment={arguments.experiment}"
        raise UserError(
            f"{place}: none of the {len(runs.frame)} finished runs matches {given}; "
            "--experiment skips runs with limit= unless the experiment sets it"
        )
    return frame


def _tables(cells: Cells, tests: PairedTests, arguments: argparse.Namespace) -> list[Table]:
    published = load_published() if arguments.published else None
    return [
        *accuracy_tables(cells, published),
        *budget_tables(cells),
        *efficiency_tables(cells),
        *ablation_tables(cells, tests),
        *unpruned_tables(cells, tests),
        *pair_tables(cells, tests, arguments.reference),
    ]

"""Tables and figures of all finished runs, printed and written to a folder.

python analysis/make.py                                    # of outputs/, into outputs/analysis/
python analysis/make.py --benchmark pope,gqa --pruner script,fastv --published
python analysis/make.py --experiment readme                # the runs of conf/experiment/readme.yaml
python analysis/make.py --wandb entity/project             # from Weights & Biases: without paired tests
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from script_exp.analysis.accuracy import accuracy_tables, budget_tables
from script_exp.analysis.cells import Cells, make_cells
from script_exp.analysis.efficiency import efficiency_tables
from script_exp.analysis.filters import add_filters, chosen
from script_exp.analysis.published import load_published
from script_exp.analysis.render import text, write_document, write_tables
from script_exp.analysis.significance import PairedTests, ablation_tables, pair_tables, unpruned_tables
from script_exp.analysis.table import Table
from script_exp.errors import UserError
from script_exp.results.read import Runs, load_runs
from script_exp.results.read_wandb import load_wandb

_PRINTED = ("accuracy", "efficiency")


def main() -> int:
    arguments = _parser().parse_args()
    try:
        runs = load_wandb(arguments.wandb) if arguments.wandb else load_runs(arguments.outputs)
        _report(runs.problems)
        cells = make_cells(_chosen(runs, arguments))
        _report(cells.problems)
        tests = PairedTests(cells)
        tables = _tables(cells, tests, arguments)
        _report(tests.problems)
        folder = arguments.to or arguments.outputs / "analysis"
        names = _write(tables, folder / "tables")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {error.filename} ({error.strerror})", file=sys.stderr)
        return 2
    for table in tables:
        if table.name in _PRINTED:
            print(text(table))
    print(f"{len(tables)} tables in {folder / 'tables'}: {', '.join(names)}")
    if arguments.figures == "on":
        _figures(cells, folder / "figures")
    return 1 if arguments.strict and (runs.problems or cells.problems or tests.problems) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--to", type=Path, help="folder for tables and figures (default: OUTPUTS/analysis)")
    add_filters(parser)
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read this W&B project instead of a folder")
    parser.add_argument(
        "--reference", metavar="METHOD", default="script", help="what the others are tested against (script)"
    )
    parser.add_argument("--published", action="store_true", help="show published numbers, in gray")
    parser.add_argument("--figures", choices=["on", "off"], default="on", help="off: tables alone")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything was left out")
    return parser


def _chosen(runs: Runs, arguments: argparse.Namespace) -> pd.DataFrame:
    frame = chosen(runs.frame, arguments)
    if frame.empty:
        place = arguments.wandb or arguments.outputs
        raise UserError(f"no finished runs in {place}; python runners/run.py makes one")
    return frame


def _report(problems: list[str]) -> None:
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)


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


def _write(tables: list[Table], folder: Path) -> list[str]:
    """Write the tables; their names."""
    names = list(dict.fromkeys(table.name for table in tables))
    for name in names:
        write_tables([table for table in tables if table.name == name], folder)
    write_document(names, folder)
    return names


def _figures(cells: Cells, folder: Path) -> None:
    from script_exp.analysis.figures import write_figures  # matplotlib takes a second to import

    written, reasons = write_figures(cells, folder)
    print(f"{len(written)} figures in {folder}: {', '.join(written)}")
    for reason in reasons:
        print(f"no figure: {reason}")


if __name__ == "__main__":
    sys.exit(main())

"""Write tables and figures of all finished runs to a folder, and print the main tables.

python analysis/make.py                                    # of outputs/, into outputs/analysis/
python analysis/make.py --benchmark pope,gqa --pruner script,fastv --published
python analysis/make.py --experiment readme                # the runs of conf/experiment/readme.yaml
python analysis/make.py --wandb entity/project             # from Weights & Biases: without paired tests
python analysis/make.py --difficulty                       # also split by what a smaller picture answers
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from script_exp.analysis.cells import Cells
from script_exp.analysis.command import (
    PRINTED,
    add_figure_options,
    add_table_options,
    analyze,
    highlighted,
    print_problems,
)
from script_exp.analysis.difficulty import NAME as DIFFICULTY
from script_exp.analysis.difficulty import difficulty_tables
from script_exp.analysis.render import text, write_document, write_tables
from script_exp.analysis.table import Table
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main() -> int:
    return run_command(_make, parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument("--to", type=Path, help="folder for tables and figures (default: OUTPUTS/analysis)")
    add_table_options(made)
    made.add_argument(
        "--difficulty", action="store_true", help="also split the samples by what a downsample run answers"
    )
    add_figure_options(made)
    return made


def _make(arguments: argparse.Namespace) -> int:
    analysis = analyze(arguments)
    colored = highlighted(arguments, analysis.cells)
    folder = arguments.to or arguments.outputs / "analysis"
    tables, left_out = difficulty_tables(analysis.cells) if arguments.difficulty else ([], [])
    print_problems(left_out)
    tables = [*analysis.tables, *tables]
    names = _write(tables, folder / "tables")
    for table in tables:
        if table.name in (*PRINTED, DIFFICULTY):
            print(text(table))
    print(f"{len(tables)} tables in {folder / 'tables'}: {', '.join(names)}")
    _tell_older(folder / "tables", [*names, "all"])
    if arguments.figures == "on":
        _figures(analysis.cells, folder / "figures", colored)
    return 1 if arguments.strict and (analysis.problems or left_out) else 0


def _write(tables: list[Table], folder: Path) -> list[str]:
    """Write the tables and return their names."""
    names = list(dict.fromkeys(table.name for table in tables))
    for name in names:
        write_tables([table for table in tables if table.name == name], folder)
    write_document(names, folder)
    return names


def _tell_older(folder: Path, written: Sequence[str]) -> None:
    """List files of earlier calls, which are not removed and may show other runs."""
    older = sorted({file.stem for file in folder.glob("[!.]*")} - {*written})
    if older:
        print(f"{folder} also has older files, perhaps of other runs: {', '.join(older)}")


def _figures(cells: Cells, folder: Path, colored: list[str] | None) -> None:
    from script_exp.analysis.figures import write_figures  # matplotlib takes a second to import

    written, reasons = write_figures(cells, folder, colored)
    print(f"{len(written)} figures in {folder}: {', '.join(written)}")
    _tell_older(folder, written)
    for reason in reasons:
        print(f"no figure: {reason}")

"""Make one self-contained HTML page of all finished runs: tables that sort and filter, figures, provenance.

python analysis/report.py                                  # of outputs/, into outputs/analysis/report.html
python analysis/report.py --experiment readme --to readme.html
python analysis/report.py --experiment readme --pictures 4 # also what was kept where pruning loses most
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from script_exp.analysis.cells import Cells
from script_exp.analysis.command import (
    add_figure_options,
    add_table_options,
    analyze,
    highlighted,
    print_problems,
)
from script_exp.errors import UserError
from script_exp.report import Report, report_page
from script_exp.report.images import Image, figure_images, kept_images
from script_exp.results.files import write_atomically
from script_exp.terminal.called import as_called
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main() -> int:
    return run_command(_report, parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument("--to", type=Path, help="the page (default: OUTPUTS/analysis/report.html)")
    add_table_options(made)
    add_figure_options(made)
    made.add_argument(
        "--pictures",
        type=int,
        default=0,
        metavar="N",
        help="show what was kept of N samples (0); loads the runs' model, so choose runs of one model",
    )
    return made


def _report(arguments: argparse.Namespace) -> int:
    page = arguments.to or arguments.outputs / "analysis" / "report.html"
    if page.is_dir():
        raise UserError(f"--to={page}: expected a file, for example {page / 'report.html'}")
    if arguments.pictures < 0:
        raise UserError(f"--pictures={arguments.pictures}: expected a whole number >= 0")
    if arguments.pictures and arguments.wandb:
        raise UserError("--pictures: expected without --wandb; what was kept is only in the run directories")
    analysis = analyze(arguments)
    colored = highlighted(arguments, analysis.cells)
    figures, no_figures = figure_images(analysis.cells, colored) if arguments.figures == "on" else ([], [])
    pictures, no_pictures = _pictures(analysis.cells, arguments.pictures) if arguments.pictures else ([], [])
    html = report_page(
        Report(
            cells=analysis.cells,
            tables=analysis.tables,
            place=arguments.wandb or str(arguments.outputs),
            command=f"{as_called('python analysis/report.py')} {shlex.join(sys.argv[1:])}".rstrip(),
            figures=figures,
            no_figures=no_figures,
            pictures=pictures,
            no_pictures=no_pictures,
            problems=analysis.problems,
        )
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, html)
    made = f"{len(analysis.tables)} tables, {len(figures)} figures, {len(pictures)} pictures"
    print(f"{made}: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 1 if arguments.strict and analysis.problems else 0


def _pictures(cells: Cells, most: int) -> tuple[list[Image], list[str]]:
    pictures, reasons = kept_images(cells.runs, most)
    print_problems(reasons)
    return pictures, reasons

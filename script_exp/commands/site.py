"""Make a static site of all finished runs: leaderboards with plots, and a page per method; opens from disk.

python analysis/site.py                                    # of outputs/, into outputs/analysis/site/
python analysis/site.py results --to site                  # of the results in the repository
python analysis/site.py --experiment readme --pictures 2   # also what each method kept where it loses most
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from script_exp.analysis.cells import make_cells
from script_exp.analysis.command import chosen_runs, print_problems
from script_exp.analysis.filters import add_filters
from script_exp.errors import UserError, check_whole
from script_exp.report.images import Image, kept_images
from script_exp.report.sheets import Sheets
from script_exp.report.site import Site, write_site
from script_exp.results.read import load_runs
from script_exp.terminal.called import as_called
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_site, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument("--to", type=Path, help="folder of the site (default: OUTPUTS/analysis/site)")
    add_filters(made)
    made.add_argument(
        "--pictures", type=int, default=0, metavar="N",
        help="show what each method kept of N samples (0); loads the model, so choose runs of one",
    )  # fmt: skip
    return made


def _site(arguments: argparse.Namespace) -> int:
    folder = arguments.to or arguments.outputs / "analysis" / "site"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to={folder}: expected a folder, for example {folder.with_suffix('')}-site")
    check_whole("--pictures", arguments.pictures, 0)
    runs = load_runs(arguments.outputs)
    print_problems(runs.problems)
    cells = make_cells(chosen_runs(runs, arguments, arguments.outputs))
    problems = [*cells.problems, *_without_accuracy(cells.runs)]
    print_problems(problems)
    if cells.frame["accuracy"].isna().all():
        raise UserError(f"{arguments.outputs}: no run with an accuracy, so there is nothing to compare")
    pictures, no_pictures = _pictures(cells.runs, arguments.pictures)
    site = Site(
        cells=cells,
        place=str(arguments.outputs),
        command=f"{as_called('python analysis/site.py')} {shlex.join(sys.argv[1:])}".rstrip(),
        sheets=Sheets.read(),
        pictures=pictures,
        no_pictures=no_pictures,
        problems=[*runs.problems, *problems],
    )
    files = write_site(site, folder)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} files: {folder / 'index.html'} ({size / 1e6:.1f} MB)")
    older = {*folder.rglob("*.html")} - {*files}
    if older:
        print(f"{folder} also has older pages, perhaps of other runs: {', '.join(sorted(map(str, older)))}")
    return 0


def _without_accuracy(runs: pd.DataFrame) -> list[str]:
    """Return a sentence for every run that is not on a leaderboard."""
    own = runs[runs["accuracy"].isna()]
    why = (
        own["weights"].eq("random").map({True: "its weights are random", False: "its answers have no scores"})
    )
    return [
        f"{place} is not on the leaderboard: {reason}"
        for place, reason in zip(own["place"], why, strict=True)
    ]


def _pictures(runs: pd.DataFrame, most: int) -> tuple[dict[str, list[Image]], dict[str, list[str]]]:
    """Return pictures of what each method kept, and for each a sentence for everything they cannot show.

    Raises:
        UserError: if there is none of any method, and a mistake is why.
    """
    pictures: dict[str, list[Image]] = {}
    reasons: dict[str, list[str]] = {}
    first: UserError | None = None
    for name in sorted({*runs["pruner"]} - {"none"}) if most else ():
        try:
            pictures[name], reasons[name] = kept_images(runs[runs["pruner"].isin([name, "none"])], most)
        except UserError as error:
            reasons[name] = [str(error)]
            first = first or error
    if first is not None and not any(pictures.values()):
        raise first
    for name, own in reasons.items():
        print_problems(f"pictures of {name}: {reason}" for reason in own)
    return pictures, reasons

"""Draw what was kept: several methods and budgets side by side, with relevance, redundancy and answers.

python analysis/kept.py                                     # where pruning loses most against unpruned
python analysis/kept.py --regressions script                # where script loses most
python analysis/kept.py --disagree script,graph --budget 32 # where two methods answer differently
python analysis/kept.py --sample 20264-0003-1,20264-0007-0  # these

This loads the runs' own model. What an in-LLM method kept is known only if it ran with record_kept=true.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pandas as pd

from script_exp.analysis.command import print_problems
from script_exp.analysis.filters import add_filters, chosen, comma_list
from script_exp.errors import UserError
from script_exp.inspection.choose import answers, disagreements, side_by_side, worst_regressions
from script_exp.results.read import load_runs
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main() -> int:
    return run_command(_kept, parser().parse_args())


def _kept(arguments: argparse.Namespace) -> int:
    folder = arguments.to or arguments.outputs / "analysis" / "kept"
    runs = _chosen(arguments)
    unread: list[str] = []
    samples = answers(runs, unread)
    print_problems(unread)
    runs = runs[runs["place"].isin(samples)]
    drawn = _sample_names(runs, samples, arguments)
    written = _draw(runs, samples, drawn, folder)
    print(f"{len(written)} pictures in {folder}: {', '.join(written)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument("--to", type=Path, help="folder for the pictures (default: OUTPUTS/analysis/kept)")
    add_filters(made)
    which = made.add_mutually_exclusive_group()
    which.add_argument("--sample", type=comma_list, metavar="ID,...", help="these samples")
    which.add_argument(
        "--disagree", type=comma_list, metavar="A,B", help="samples that two methods answer differently"
    )
    which.add_argument(
        "--regressions",
        metavar="METHOD",
        help="samples whose score drops most with METHOD (default: with all methods)",
    )
    made.add_argument("--most", type=int, default=4, metavar="N", help="maximum number of samples (4)")
    return made


def _chosen(arguments: argparse.Namespace) -> pd.DataFrame:
    runs = load_runs(arguments.outputs)
    print_problems(runs.problems)
    frame = chosen(runs.frame, arguments)
    frame = frame[frame["weights"] != "random"]
    if frame.empty:
        raise UserError(
            f"no finished runs with answers in {arguments.outputs}; python runners/run.py makes one"
        )
    beside = side_by_side(frame)
    print_problems(
        f"{run['place']}: another seed or a run on more samples is shown for this method and budget"
        for _, run in frame[~frame["place"].isin(beside["place"])].iterrows()
    )
    return beside


def _sample_names(
    runs: pd.DataFrame, samples: dict[str, pd.DataFrame], arguments: argparse.Namespace
) -> list[str]:
    """Return the ids of the samples to draw."""
    if arguments.most < 1:
        raise UserError(f"--most={arguments.most}: expected a whole number >= 1")
    if arguments.sample is not None:
        answered = {name: None for table in samples.values() for name in table.index}
        for name in arguments.sample:
            if name not in answered:
                raise UserError(
                    f"--sample={name}: expected an answered sample, such as {next(iter(answered))}"
                )
        return list(dict.fromkeys(arguments.sample))
    if arguments.disagree is not None:
        names = disagreements(runs, samples, arguments.disagree, arguments.most)
        why = f"{' and '.join(arguments.disagree)} give the same answer to every sample"
    else:
        names = worst_regressions(runs, samples, arguments.most, arguments.regressions)
        why = "no sample scores lower than in the unpruned run"
    if not names:
        raise UserError(f"nothing to draw: {why}")
    return names


def _draw(runs: pd.DataFrame, samples: dict[str, pd.DataFrame], names: list[str], folder: Path) -> list[str]:
    from script_exp.analysis.figures.kept import kept_figure
    from script_exp.analysis.figures.style import save, style
    from script_exp.inspection.pictures import Gallery  # imports torch

    gallery = Gallery.open(runs, samples)
    print_problems(gallery.problems)
    first = runs.iloc[0]
    written = []
    for shown in gallery.pictures(names):
        name = re.sub(r"[^\w-]+", "_", f"{first['model']}-{first['column']}-{shown.sample}").strip("_")
        with style():
            save(kept_figure(shown), folder, name)
        written.append(name)
    return written

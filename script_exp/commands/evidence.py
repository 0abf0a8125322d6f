"""Say which share of the evidence methods kept on benchmark=clips, where it is known what shows the answer.

python runners/run.py -m benchmark=clips model=tiny_video pruner=evs,holitom budget=0.25 record_kept=true
python analysis/evidence.py                # of outputs/
python analysis/evidence.py --format markdown

It needs runs with record_kept=true. No model is loaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from script_exp.analysis.command import print_problems
from script_exp.analysis.evidence_table import evidence_tables
from script_exp.analysis.filters import add_filters, chosen
from script_exp.analysis.render import FORMATS
from script_exp.errors import UserError
from script_exp.results.read import load_runs
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_evidence, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    add_filters(made)
    made.add_argument("--format", choices=list(FORMATS), default="text", help="output format (text)")
    return made


def _evidence(given: argparse.Namespace) -> int:
    runs = load_runs(given.outputs)
    print_problems(runs.problems)
    if runs.frame.empty:
        raise UserError(f"no finished runs in {given.outputs}; python runners/run.py makes one")
    tables, problems = evidence_tables(chosen(runs.frame, given))
    print_problems(problems)
    print("\n".join(FORMATS[given.format](table) for table in tables))
    return 0

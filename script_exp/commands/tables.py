"""Print accuracy and cost of all finished runs by method and budget; analysis/make.py writes files.

python analysis/tables.py                                  # of outputs/
python analysis/tables.py --format latex > tables.tex      # or markdown
python analysis/tables.py --benchmark pope,gqa --pruner script,fastv
"""

from __future__ import annotations

import argparse

from script_exp.analysis.command import PRINTED, add_table_options, analyze
from script_exp.analysis.render import FORMATS
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main() -> int:
    return run_command(_print, parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument("--format", choices=list(FORMATS), default="text", help="output format (text)")
    add_table_options(made)
    return made


def _print(arguments: argparse.Namespace) -> int:
    analysis = analyze(arguments)
    shown = FORMATS[arguments.format]
    print("\n".join(shown(table) for table in analysis.tables if table.name in PRINTED))
    return 1 if arguments.strict and analysis.problems else 0

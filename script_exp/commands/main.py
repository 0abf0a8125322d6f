"""``script-exp COMMAND``: every command under one name, from any folder, with completion in the shell."""

from __future__ import annotations

import script_exp.terminal.ctrl_c  # noqa: F401

# isort: split

import argparse
import os
import sys
from importlib import import_module

from script_exp.terminal.called import PROGRAM
from script_exp.terminal.entry import start

COMMANDS = {
    "run": "run one cell (model x benchmark x pruner x budget), or a sweep of cells",
    "bench": "measure the speed of methods and budgets without a benchmark",
    "data": "check the benchmarks' data",
    "status": "show the state of all runs",
    "score": "score finished runs again",
    "tables": "print accuracy and cost of all finished runs",
    "make": "write tables and figures of all finished runs",
    "report": "make one HTML page of all finished runs",
    "site": "make a static site of all finished runs",
    "power": "say how many samples tell two methods apart",
    "evidence": "say which share of the evidence methods kept on made clips",
    "kept": "draw which visual tokens were kept",
    "wandb_workspace": "make a W&B workspace that shows the runs",
    "train_tiny": "train the embedded model from scratch",
    "tiny_report": "measure how good the embedded model is",
}
"""Modules of this room, with what they do; the repository's ``runners/`` and ``analysis/`` start the same."""
_ABOUT = """Ablations of visual-token pruning. Runs go to outputs/ in the current folder.

script-exp run pruner=script budget=64
script-exp tables
script-exp run --help                             # the options of a command
eval "$(register-python-argcomplete script-exp)"  # completion in bash and zsh
"""


def main() -> int:
    """Start the command that the first word names; it parses the other words."""
    start()
    if "_ARGCOMPLETE" in os.environ:
        _complete(os.environ["COMP_LINE"].split())
    name = _parser([]).parse_args(sys.argv[1:2]).command
    sys.argv = [f"{PROGRAM} {name}", *sys.argv[2:]]
    code: int = import_module(f"{__package__}.{name}").main()
    return code


def _complete(words: list[str]) -> None:
    """Print what may come next on a command line, and exit."""
    import argcomplete

    argcomplete.autocomplete(_parser(words[1:2]), always_complete_options=False)


def _parser(complete: list[str]) -> argparse.ArgumentParser:
    """Return a parser of the first word, and of all words of the commands in ``complete``."""
    parser = argparse.ArgumentParser(
        PROGRAM, description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        own = [import_module(f"{__package__}.{name}").parser()] if name in complete else []
        commands.add_parser(name, help=about, parents=own, add_help=False)
    return parser

"""Make a W&B workspace that shows accuracy, cost and samples of the runs that were sent.

python analysis/wandb_workspace.py ENTITY/PROJECT                    # needs wandb login
python analysis/wandb_workspace.py ENTITY/PROJECT --group budget_sweep
python analysis/wandb_workspace.py ENTITY/PROJECT --to workspace.json  # writes it, and sends nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from script_exp.results.files import write_atomically
from script_exp.results.wandb_workspace import as_json, save, workspace
from script_exp.terminal.entry import new_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_make, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    made.add_argument("project", metavar="ENTITY/PROJECT", help="the project that the runs were sent to")
    made.add_argument("--group", metavar="SWEEP", help="show only the runs of this sweep")
    made.add_argument("--to", type=Path, metavar="FILE", help="write the workspace as JSON, and send nothing")
    return made


def _make(given: argparse.Namespace) -> int:
    made = workspace(given.project, given.group)
    if given.to is None:
        print(save(made))
    else:
        write_atomically(given.to, as_json(made))
        print(given.to)
    return 0

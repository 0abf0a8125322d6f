"""Score finished runs again from samples.jsonl, without a model: after a scorer was fixed, or with a judge.

python runners/score.py outputs --dry-run                        # show what would change in all runs
python runners/score.py outputs/tiny/shapes/script-64-s0-*       # one run
python runners/score.py outputs/*/pope/* data=/data/eval         # if the data has moved

Runs whose answers, scores and rule stay the same are not touched. Runs are skipped if they are unfinished,
busy or damaged, or if their samples or prompts differ from the benchmark's current ones.

Exit code: 0 if all scores are up to date, 1 if a run was skipped, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from script_exp.errors import UserError
from script_exp.terminal.called import as_called
from script_exp.terminal.entry import new_parser, run_command
from script_exp.upkeep.report import print_rescored
from script_exp.upkeep.rescore import Overrides, find_runs, rescore


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_score, parser().parse_intermixed_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    made.add_argument(
        "words", nargs="+", metavar="RUN_DIR | KEY=VALUE",
        help="run directories, folders of runs or patterns; data=FOLDER, benchmark.data=FOLDER, or a "
        "benchmark setting that affects only the score",
    )  # fmt: skip
    made.add_argument("--dry-run", action="store_true", help="write nothing (but still ask a judge)")
    return made


def _score(given: argparse.Namespace) -> int:
    settings = [word for word in given.words if "=" in word and not Path(word).exists()]
    overrides = Overrides.parse(settings)
    rescored, refused = [], {}
    for run in find_runs([word for word in given.words if word not in settings]):
        try:
            rescored.append(rescore(run, overrides, dry_run=given.dry_run))
        except UserError as error:
            refused[run] = str(error)
    if rescored:
        print_rescored(rescored, dry_run=given.dry_run)
    for run, why in refused.items():
        print(f"skipped: {run}: {as_called(why)}", file=sys.stderr)
    return 1 if refused else 0

"""Report, as Markdown for docs/tiny_model.md, how good the built-in model is and what its benchmark resolves.

python runners/tiny_report.py --budgets 64 32 16
"""

from __future__ import annotations

import script_exp.terminal.ctrl_c  # noqa: F401

# isort: split

import argparse
import sys

from script_exp.terminal.entry import new_parser, run_command, start


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("--path", default="embedded", help="folder of the checkpoint")
    parser.add_argument("--scenes", type=int, default=80, help="scenes in the benchmark (80)")
    parser.add_argument("--scene-seed", type=int, default=20264, help="seed of the scenes (20264)")
    parser.add_argument(
        "--budgets", type=int, nargs="*", default=[192, 128, 64, 32, 16], help="visual tokens kept"
    )
    return run_command(_report, parser.parse_args())


def _report(given: argparse.Namespace) -> int:
    from script_exp.training.report import print_report  # imports torch

    print_report(given.path, given.scenes, given.scene_seed, given.budgets)
    return 0


if __name__ == "__main__":
    start()
    sys.exit(main())

"""How good the embedded model is and what its benchmark can tell apart, as Markdown for docs/tiny_model.md.

python runners/tiny_report.py --budgets 64 32 16
"""

from __future__ import annotations

import argparse
import sys

from script_exp.terminal.entry import new_parser, run_command, start


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("--path", default="embedded", help="folder of the checkpoint")
    parser.add_argument("--scenes", type=int, default=80, help="of the benchmark (80)")
    parser.add_argument("--scene-seed", type=int, default=20264, help="which scenes (20264)")
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

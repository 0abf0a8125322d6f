"""Report, as Markdown for docs/tiny_model.md, how good the built-in model is and what its benchmark resolves.

python runners/tiny_report.py --budgets 64 32 16
"""

from __future__ import annotations

import argparse

from script_exp.config.benchmark_config import benchmark_config
from script_exp.terminal.entry import new_parser, run_command


def main() -> int:
    return run_command(_report, parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    made.add_argument("--path", default="embedded", help="folder of the checkpoint")
    made.add_argument("--scenes", type=int, default=80, help="scenes in the benchmark (80)")
    made.add_argument("--world", type=int, choices=(1, 2), default=1, help="scenes: shapes or shapes_2 (1)")
    made.add_argument("--scene-seed", type=int, help="seed of the scenes (the benchmark's own)")
    made.add_argument(
        "--budgets", type=int, nargs="*", default=[192, 128, 64, 32, 16], help="visual tokens kept"
    )
    return made


def _report(given: argparse.Namespace) -> int:
    from script_exp.benchmarks.shapes import SecondShapes, Shapes
    from script_exp.training.report import print_report  # imports torch

    kind, name = ((Shapes, "shapes"), (SecondShapes, "shapes_2"))[given.world - 1]
    seed = benchmark_config(name)["scene_seed"] if given.scene_seed is None else given.scene_seed
    print_report(given.path, kind(scenes=given.scenes, scene_seed=seed), given.budgets)
    return 0

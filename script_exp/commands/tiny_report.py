"""Report, as Markdown for docs/tiny_model.md, how good the built-in model is and what its benchmark resolves.

python runners/tiny_report.py --budgets 64 32 16
python runners/tiny_report.py --world 2 --budgets 64   # of tiny_2, on shapes_2
python runners/tiny_report.py --model next             # what only the crops of tiny_next show
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
    made.add_argument("--path", help="folder of the checkpoint (the shipped one)")
    made.add_argument("--scenes", type=int, help="scenes in the benchmark (80; 60 with --model next)")
    made.add_argument("--model", choices=("tiny", "next"), default="tiny", help="as in train_tiny.py (tiny)")
    made.add_argument("--world", type=int, choices=(1, 2), default=1, help="scenes: shapes or shapes_2 (1)")
    made.add_argument("--scene-seed", type=int, help="seed of the scenes (the benchmark's own)")
    made.add_argument("--budgets", type=int, nargs="*", help="visual tokens kept (192 128 64 32 16)")
    return made


def _report(given: argparse.Namespace) -> int:
    from script_exp.benchmarks.shapes import NextShapes, SecondShapes, Shapes
    from script_exp.training.next_report import print_next_report  # imports torch
    from script_exp.training.report import print_report

    if given.model == "next":
        if given.world == 2 or given.budgets is not None:
            parser().error(
                "--model next: expected it without --world 2 and --budgets; its table has no budgets"
            )
        seed = benchmark_config("shapes_next")["scene_seed"] if given.scene_seed is None else given.scene_seed
        benchmark = NextShapes(scenes=60 if given.scenes is None else given.scenes, scene_seed=seed)
        print_next_report(given.path or "embedded_next", benchmark)
        return 0
    worlds = (Shapes, "shapes", "embedded"), (SecondShapes, "shapes_2", "embedded_2")
    kind, name, path = worlds[given.world - 1]
    seed = benchmark_config(name)["scene_seed"] if given.scene_seed is None else given.scene_seed
    scenes = 80 if given.scenes is None else given.scenes
    budgets = [192, 128, 64, 32, 16] if given.budgets is None else given.budgets
    print_report(given.path or path, kind(scenes=scenes, scene_seed=seed), budgets)
    return 0

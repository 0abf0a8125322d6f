"""Say how many samples tell two methods apart that differ by d points, simulated from finished runs.

python analysis/power.py                                   # of outputs/: 1, 2 and 5 points
python analysis/power.py --benchmark gqa --pruner script,fastv --points 0.5,1
python analysis/power.py runs/mine --reference fastv --power 0.9

It needs two runs over the whole benchmark, or over a part that is a benchmark of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from script_exp.analysis.command import print_problems
from script_exp.analysis.filters import add_filters, chosen, comma_list
from script_exp.analysis.power import Simulation
from script_exp.analysis.power_table import power_tables, whole_runs
from script_exp.analysis.render import FORMATS
from script_exp.errors import UserError, check_whole
from script_exp.results.read import load_runs
from script_exp.terminal.entry import add_outputs, new_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_power, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    add_filters(made)
    made.add_argument("--reference", metavar="METHOD", default="script", help="compare with it (script)")
    made.add_argument(
        "--points", type=comma_list, metavar="D,...", default=["1", "2", "5"], help="differences (1,2,5)"
    )
    made.add_argument("--power", type=float, default=0.8, help="how often they have to be found (0.8)")
    made.add_argument("--level", type=float, default=0.05, help="significance level of the test (0.05)")
    made.add_argument("--repeats", type=int, default=2_000, metavar="N", help="simulated benchmarks (2000)")
    made.add_argument("--seed", type=int, default=0, help="of the simulation (0)")
    made.add_argument("--format", choices=list(FORMATS), default="text", help="output format (text)")
    return made


def _power(given: argparse.Namespace) -> int:
    points = [_between("--points", one, 0, 100) for one in given.points]
    power, level = _between("--power", given.power, 0, 1), _between("--level", given.level, 0, 1)
    check_whole("--repeats", given.repeats, 100)
    check_whole("--seed", given.seed, 0)
    runs = load_runs(given.outputs)
    print_problems(runs.problems)
    if runs.frame.empty:
        raise UserError(f"no finished runs in {given.outputs}; python runners/run.py makes one")
    whole, left_out = whole_runs(chosen(runs.frame, given))
    print_problems(left_out)
    if whole.empty:
        raise UserError(f"no run over a whole benchmark in {given.outputs}: all {len(left_out)} are left out")
    tables, problems = power_tables(
        whole, given.reference, points, power, Simulation(given.repeats, level, given.seed)
    )
    print_problems(problems)
    print("\n".join(FORMATS[given.format](table) for table in tables))
    return 0


def _between(option: str, value: str | float, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = low
    if not low < number < high:  # also refuses nan
        raise UserError(f"{option}={value}: expected a number above {low} and below {high}")
    return number

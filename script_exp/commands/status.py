"""Show the state of all runs: finished, running, or failed and why, and what an experiment still lacks.

python runners/status.py
python runners/status.py outputs --experiment module_ablation limit=100

Exit code: 0 if everything is finished, 1 if something is not, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from script_exp.errors import UserError, on_one_line, printable
from script_exp.results.state import RunState, last_lines, read_state, read_states
from script_exp.sweeps.record import CellState
from script_exp.terminal.called import as_called
from script_exp.terminal.entry import add_outputs, new_parser, run_command

_ORDER = ("finished", "running", "interrupted", "stopped", "failed", "damaged", "invalid", "missing")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_show, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    add_outputs(made)
    made.add_argument(
        "--experiment",
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        help="show only the cells of this file in conf/experiment, with the overrides of the sweep",
    )
    return made


def _show(given: argparse.Namespace) -> int:
    if given.experiment is None:
        return _show_all(given.outputs)
    return _show_experiment(given.outputs, *given.experiment)


def _show_all(outputs: Path) -> int:
    if not outputs.is_dir():
        raise UserError(f"outputs={outputs}: expected the folder that the runs were written to")
    states = list(read_states(outputs))
    print(f"{outputs}: {_count([state.state for state in states])}")
    for name in _ORDER[1:]:
        for state in (state for state in states if state.state == name):
            print(*_describe(state, str(state.path)), sep="\n")
    return int(not states or any(state.state != "finished" for state in states))


def _show_experiment(outputs: Path, name: str, *overrides: str) -> int:
    from script_exp.sweeps.experiment import experiment_cells  # torch is imported from here on

    cells = experiment_cells([f"experiment={name}", f"outputs={outputs}", *overrides])
    print(f"{name} in {outputs}: {_count([cell.state for cell in cells])}")
    for state in _ORDER[1:]:
        for cell in (cell for cell in cells if cell.state == state):
            print(*_describe_cell(cell), sep="\n")
    return int(any(cell.state != "finished" for cell in cells))


def _count(states: Sequence[str]) -> str:
    counts = Counter(states)
    return ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name]) or "no runs"


def _describe_cell(cell: CellState) -> list[str]:
    state = None if cell.run_dir is None else read_state(cell.run_dir)
    if state is None:
        why = f": {cell.why}" if cell.why else ""
        return [f"{cell.state}: {' '.join(cell.overrides)}{why}"]
    return _describe(state, str(state.path))


def _describe(state: RunState, name: str) -> list[str]:
    job = f", job {state.job}" if state.job else ""
    if state.state == "running":
        return [printable(f"running: {name}: {_progress(state)} ({state.host}, process {state.pid}{job})")]
    lines = [printable(f"{state.state}: {name}: {as_called(str(state.why))} ({state.host}{job})")]
    return lines + [f"    | {on_one_line(line)}" for line in last_lines(state.path)]


def _progress(state: RunState) -> str:
    if state.done is None:
        return "loading"
    parts = [f"{state.done} of {state.total} samples"]
    if state.rate is not None and state.seconds_left is not None:
        left = timedelta(seconds=round(state.seconds_left))
        parts += [
            f"{state.rate:.2g} per second",
            f"{left} left" if state.done != state.total else "measuring",
        ]
    return ", ".join(parts)

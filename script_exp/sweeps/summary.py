"""Summarize a sweep at its end: how many cells are finished, and why each of the others is not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from script_exp.errors import on_one_line, printable
from script_exp.results.state import last_lines
from script_exp.sweeps.record import CellState
from script_exp.terminal.called import as_called

_SHOWN = 5


def summarize_sweep(folder: Path, cells: Sequence[CellState]) -> tuple[list[str], bool]:
    """Return the summary's lines for the cells of the sweep in ``folder``, and whether all are finished."""
    open_cells = [cell for cell in cells if cell.state != "finished"]
    before = sum(cell.before for cell in cells)
    count = f"{len(cells) - len(open_cells)} of {len(cells)} cells finished"
    were = f" ({before} {'was' if before == 1 else 'were'} finished before)" if before else ""
    lines = [f"sweep {folder}: {count}{were}"]
    alike: dict[tuple[str, str | None], list[CellState]] = {}
    for cell in open_cells:
        alike.setdefault((cell.state, cell.why), []).append(cell)
    for group in alike.values():
        lines += _describe(group)
    if any(cell.state in ("failed", "invalid") for cell in open_cells):
        lines.append("first change the settings of the failed cells, or fix the problems that they report")
    if open_cells:
        lines.append("repeat the command to run missing cells and resume unfinished ones")
    return lines, not open_cells


def _describe(cells: Sequence[CellState]) -> list[str]:
    """Return what to print of cells with the same state for the same reason."""
    why = f": {printable(as_called(cells[0].why))}" if cells[0].why else ""
    if len(cells) > 1:
        named = [f"    {shlex.join(cell.overrides)}" for cell in cells[:_SHOWN]]
        more = [f"    and {len(cells) - _SHOWN} more"] if len(cells) > _SHOWN else []
        return [f"{cells[0].state}: {len(cells)} cells{why}", *named, *more]
    (cell,) = cells
    lines = [f"{cell.state}: {shlex.join(cell.overrides)}{why}"]
    if cell.run_dir is not None:
        lines.append(f"    {cell.run_dir}")
        if cell.state == "stopped":  # then run.log is all there is
            lines += [f"    | {on_one_line(line)}" for line in last_lines(cell.run_dir)]
    return lines

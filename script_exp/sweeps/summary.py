"""Summarize a sweep at its end: how many cells are finished, and why each of the others is not."""

from __future__ import annotations

from script_exp.results.state import last_lines
from script_exp.sweeps.record import CellState, SweepRecord


def summarize_sweep(sweep: SweepRecord) -> tuple[list[str], bool]:
    """Return the summary's lines, and whether all cells are finished."""
    cells = sweep.cells()
    open_cells = [cell for cell in cells if cell.state != "finished"]
    lines = [f"sweep {sweep.folder}: {len(cells) - len(open_cells)} of {len(cells)} cells finished"]
    for cell in open_cells:
        lines += _describe(cell)
    if any(cell.state == "failed" for cell in open_cells):
        lines.append("first change the settings of the failed cells, or fix the problems that they report")
    if open_cells:
        lines.append("repeat the command to run missing cells and resume unfinished ones")
    return lines, not open_cells


def _describe(cell: CellState) -> list[str]:
    lines = [f"{cell.state}: {' '.join(cell.overrides)}" + (f": {cell.why}" if cell.why else "")]
    if cell.run_dir is not None:
        lines.append(f"    {cell.run_dir}")
        if cell.state == "stopped":  # then run.log is all there is
            lines += [f"    | {line}" for line in last_lines(cell.run_dir)]
    return lines

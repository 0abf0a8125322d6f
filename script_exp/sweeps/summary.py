"""The end of a sweep: how many cells are finished, and why each of the others is not."""

from __future__ import annotations

from script_exp.results.state import last_lines
from script_exp.sweeps.record import CellState, SweepRecord


def summarize_sweep(sweep: SweepRecord) -> tuple[list[str], bool]:
    """The summary's lines, and whether all cells are finished."""
    cells = sweep.cells()
    open_cells = [cell for cell in cells if cell.state != "finished"]
    lines = [f"sweep {sweep.folder}: {len(cells) - len(open_cells)} of {len(cells)} cells finished"]
    for cell in open_cells:
        lines += _describe(cell)
    if any(cell.state == "failed" for cell in open_cells):
        lines.append("a cell that failed needs another setting, or whatever its reason names; then")
    if open_cells:
        lines.append("the same command runs what is missing and goes on with what was begun")
    return lines, not open_cells


def _describe(cell: CellState) -> list[str]:
    lines = [f"{cell.state}: {' '.join(cell.overrides)}" + (f": {cell.why}" if cell.why else "")]
    if cell.run_dir is not None:
        lines.append(f"    {cell.run_dir}")
        if cell.state == "stopped":  # then run.log is all there is
            lines += [f"    | {line}" for line in last_lines(cell.run_dir)]
    return lines

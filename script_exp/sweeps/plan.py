"""Plan a sweep: which cells are distinct, and which of them have work left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.results.files import write_atomically
from script_exp.sweeps.record import CellState, SweepRecord, group_of
from script_exp.terminal.called import as_called

if TYPE_CHECKING:
    import torch

    from script_exp.cell.prepared import RunCell

_current: list[SweepRecord] = []


def current_sweep() -> SweepRecord | None:
    """Return the sweep that this process launched, if any."""
    return _current[0] if _current else None


def plan_sweep(
    folder: Path, cells: Iterable[tuple[list[str], DictConfig]], config_yaml: str, device: str | None = None
) -> list[list[str]]:
    """Write the plan of a sweep to its folder, and print how many cells it has and what is wrong with some.

    Args:
        folder: the sweep's folder.
        cells: overrides and composed config of every cell.
        config_yaml: the config of the sweep.
        device: as for :func:`plan_cells`.

    Returns:
        the overrides of the cells to launch.

    Raises:
        UserError: if the folder is not writable.
    """
    planned = plan_cells(folder, cells, device)
    sweep = SweepRecord(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror}); expected a writable folder") from error
    write_atomically(folder / "multirun.yaml", config_yaml)
    sweep.plan(planned)
    _current[:] = [sweep]
    for why in dict.fromkeys(cell.why for cell in planned if cell.state == "invalid"):
        print(f"error: {as_called(str(why))}", file=sys.stderr)
    jobs = [cell.overrides for cell in planned if cell.state == "missing"]
    finished = sum(cell.state == "finished" for cell in planned)
    print(f"{len(planned)} cells, {finished} of them finished already, {len(jobs)} to run", file=sys.stderr)
    return jobs


def plan_cells(
    folder: Path, cells: Iterable[tuple[list[str], DictConfig]], device: str | None = None
) -> list[CellState]:
    """Return the distinct cells: ``finished``, ``invalid``, or ``missing`` if there is work left.

    A finished cell that the tracker does not have yet is logged from its files.

    Cells with the same identity are one cell, unless they are different shards of it or want different things
    from it (``latency``, ``record_kept``). Nothing heavy is imported if all settings are invalid.

    Args:
        folder: the sweep's folder.
        cells: overrides and composed config of every cell.
        device: what ``device=auto`` means where the cells run; None: the same as here.
    """
    planned: dict[object, CellState] = {}
    checked: dict[str, tuple[list[str], RunSettings]] = {}
    for overrides, config in cells:
        try:
            settings = RunSettings.from_config(config)
            checked.setdefault(repr(settings), (overrides, settings))
        except UserError as error:
            planned[" ".join(overrides)] = CellState(overrides, "invalid", str(error))
    benchmarks: dict[str, RunCell] = {}
    finished: dict[object, tuple[RunCell, dict[str, Any]]] = {}
    for overrides, settings in checked.values():
        key: object = repr(settings)
        try:
            cell = _prepared(settings, device)
            shared = benchmarks.setdefault(repr(cell.settings.benchmark), cell)
            cell = replace(cell, benchmark=shared.benchmark)  # reads the questions once
            key = (cell.directory.absolute(), settings.shard, settings.latency, settings.record_kept)
            if key not in planned:
                done = _done(cell)
                planned[key] = CellState(overrides, "missing")
                if done is not None:
                    planned[key] = CellState(overrides, "finished", run_dir=cell.directory)
                    finished[key] = cell, done
        except UserError as error:
            planned[key] = CellState(overrides, "invalid", str(error))
    group = group_of(folder, [cell.overrides for cell in planned.values()])
    for key, (cell, done) in finished.items():
        try:
            _log(replace(cell, settings=replace(cell.settings, group=group)), done)
        except UserError as error:
            planned[key] = CellState(planned[key].overrides, "invalid", str(error))
    return list(planned.values())


def _done(cell: RunCell) -> dict[str, Any] | None:
    """Return the result of a cell with nothing left to do; None if there is work left."""
    from script_exp.cell.finished import read_done

    requeued = bool(os.environ.get("SLURM_RESTART_COUNT"))  # then the sweep resumes its own runs
    return None if cell.settings.force and not requeued else read_done(cell)


def _log(cell: RunCell, done: dict[str, Any]) -> None:
    from script_exp.cell.finished import note_changes
    from script_exp.cell.tracked import log_finished
    from script_exp.results.run_directory import RunDirectory, RunIsBusyError

    note_changes(cell, RunDirectory(cell.directory))
    with suppress(RunIsBusyError):  # another command is logging it
        log_finished(cell, done)


def _prepared(settings: RunSettings, device: str | None) -> RunCell:
    """Return the cell as it is where it runs, on a ``device`` that need not be here."""
    from script_exp.cell.prepared import RunCell  # torch is imported from here on
    from script_exp.models.loading.load import resolve_device

    if device is None or settings.device != "auto" or resolve_device("auto").type == device:
        return RunCell.prepare(settings)
    anywhere = replace(settings.model, compile="off", placement="one_device", quantization="off")
    cell = RunCell.prepare(replace(settings, device="cpu", dtype="auto", attention="sdpa", model=anywhere))
    as_given = replace(
        cell.settings,
        device="auto", dtype=settings.dtype, attention=settings.attention, model=settings.model,
    )  # fmt: skip
    return replace(
        cell, settings=as_given, device=_device(device), dtype=_dtype(cell, settings.dtype, device)
    )


def _device(name: str) -> torch.device:
    import torch

    return torch.device(name)


def _dtype(cell: RunCell, name: str, device: str) -> torch.dtype:
    from script_exp.models.loading.load import resolve_dtype

    if name == "bfloat16":  # whether a GPU that is not here supports it is seen there
        import torch

        return torch.bfloat16
    return resolve_dtype(name, _device(device), cell.checkpoint.config.dtype)

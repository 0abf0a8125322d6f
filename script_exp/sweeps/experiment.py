"""The cells of a named experiment, and their run directories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF, check_arguments, with_groups_keys
from script_exp.config.multirun import compose_each, expand
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.results.files import read_bytes
from script_exp.results.state import read_state
from script_exp.sweeps.record import CellState


def composed_cells(arguments: Sequence[str]) -> Iterator[tuple[list[str], DictConfig]]:
    """Yield overrides and composed config of every cell that ``runners/run.py -m <arguments>`` would run.

    Raises:
        UserError: if the arguments cannot be composed.
    """
    config = check_arguments(arguments)
    arguments = with_groups_keys(arguments)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            if config is None:
                parsed = OverridesParser.create().parse_overrides(list(arguments))
                fixed = [str(one.input_line) for one in parsed if not one.is_sweep_override()]
                config = compose("config", overrides=fixed, return_hydra_config=True)
            cells = expand(config.hydra.sweeper.params, arguments)
            yield from zip(cells, compose_each(cells, lambda cell: compose("config", cell)), strict=True)
    except HydraException as error:
        raise UserError(str(error).splitlines()[0]) from error


def experiment_cells(arguments: Sequence[str]) -> list[CellState]:
    """Return the state of every cell; identical cells, such as unpruned ones at several budgets, count once.

    Raises:
        UserError: if the arguments cannot be composed.
    """
    states: dict[str, CellState] = {}
    given = {*arguments, *with_groups_keys(arguments)}
    for all_overrides, config in composed_cells(arguments):
        overrides = [one for one in all_overrides if one not in given] or all_overrides
        try:
            cell = RunCell.prepare(RunSettings.from_config(config))
            identity = cell.identity  # reads the benchmark's questions, which may be missing
        except UserError as error:
            states[" ".join(overrides)] = CellState(overrides, "invalid", str(error))
            continue
        states.setdefault(identity, _state(cell, overrides))
    return list(states.values())


def _state(cell: RunCell, overrides: list[str]) -> CellState:
    run_dir = _find(cell)
    state = None if run_dir is None else read_state(run_dir)
    if state is None:
        return CellState(overrides, "missing")
    return CellState(overrides, state.state, state.why, run_dir)


def _find(cell: RunCell) -> Path | None:
    """Return the cell's directory, even if ``auto`` meant another device or dtype where it was run."""
    if cell.directory.exists():
        return cell.directory
    for directory in cell.directory.parent.glob(f"{cell.name}-*/"):
        try:
            used = yaml.safe_load(read_bytes(directory / "config.yaml").decode())
            elsewhere = replace(
                cell,
                device=torch.device(used["device"]) if cell.settings.device == "auto" else cell.device,
                dtype=_dtype(used["dtype"]) if cell.settings.dtype == "auto" else cell.dtype,
            )
        except (
            UserError,
            OSError,
            ValueError,
            yaml.YAMLError,
            RecursionError,
            KeyError,
            TypeError,
            RuntimeError,
            AttributeError,
        ):
            continue  # not a run, or a damaged one: the cell counts as missing
        if elsewhere.directory == directory:
            return directory
    return None


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name.removeprefix("torch."))
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name} is not a dtype")
    return dtype

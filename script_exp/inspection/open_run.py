"""Open a finished run again, with exactly the model, benchmark and pruner that it had."""

from __future__ import annotations

from pathlib import Path

import yaml
from omegaconf import DictConfig

from script_exp.cell.prepared import RunCell
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.results.files import read_bytes
from script_exp.results.result_file import read_own_result


def open_run(run_dir: Path) -> RunCell:
    """Return the cell of a finished run; nothing is loaded yet.

    Raises:
        UserError: if its files are damaged, its checkpoint or data is missing, or its settings would be
            another run today because the checkpoint, data, device or code has changed.
    """
    try:
        identity = read_own_result(run_dir / "result.json")["identity"]
        cell = RunCell.prepare(_settings(run_dir / "config.yaml"))
    except FileNotFoundError as error:
        raise UserError(f"{run_dir} cannot be opened: it has no result.json") from error
    except UserError as error:
        raise UserError(f"{run_dir} cannot be opened: {error}") from error
    if cell.identity != identity:
        raise UserError(
            f"{run_dir} cannot be opened: its settings now give identity {cell.identity}, not {identity}, "
            "because the checkpoint, data, device or code has changed since"
        )
    return cell


def _settings(file: Path) -> RunSettings:
    try:
        config = yaml.safe_load(read_bytes(file).decode())
        config["dtype"] = config["dtype"].removeprefix("torch.")
        if config["budget"] is None:  # an unpruned run has none, and ignores this one
            config["budget"] = 1
        return RunSettings.from_config(DictConfig(config), config["group"])
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
        RecursionError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{file} is damaged ({type(error).__name__}: {why})") from error

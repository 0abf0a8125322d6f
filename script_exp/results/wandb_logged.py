"""Which runs W&B has a log of in their run directory, and the command that sends what was not sent yet."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.files import read_json, write_atomically, write_json
from script_exp.results.wandb_upload import is_sent, sync_command

_LOGGED = Path("wandb/logged.json")
"""In the run directory: a hash of the finished run as it was logged, and the folder of that log."""


def digest_of(project: str, entity: str | None, summary: dict[str, Any]) -> str:
    """Return a hash of what is logged of a finished run, and where."""
    logged = json.dumps([project, entity, summary], sort_keys=True)
    return hashlib.sha256(logged.encode()).hexdigest()[:16]


def note_logged(log_folder: Path, digest: str) -> None:
    """Record that a finished run is logged as ``digest`` says, in ``log_folder`` of its run directory."""
    write_json(log_folder.with_name(_LOGGED.name), [digest, log_folder.name])


def log_of(folder: Path, digest: str | None = None) -> Path | None:
    """Return the last complete log of the run in ``folder``.

    Args:
        folder: the run directory.
        digest: what it has to be a log of; None for anything.

    Returns:
        its folder; None if there is no such log.
    """
    file = folder / _LOGGED
    try:
        logged, name = read_json(file) if file.exists() else (None, "")
    except (UserError, ValueError, TypeError):  # damaged: log again
        return None
    log_folder = file.parent / str(name)
    return log_folder if digest in (None, logged) and name and log_folder.is_dir() else None


def unsent(folders: Iterable[Path], list_file: Path | None = None) -> list[str]:
    """Return a line with the command that sends the logs of finished runs; none if all are sent.

    Args:
        folders: run directories.
        list_file: file for the list of several logs, since their names would fill the screen.
    """
    logs = [log for folder in folders if (log := log_of(folder)) is not None and not is_sent(log)]
    if not logs:
        return []
    command = sync_command(*logs)
    if list_file is not None and len(logs) > 1:
        write_atomically(list_file, "".join(f"{shlex.quote(str(log.resolve()))}\n" for log in logs))
        command = f"xargs {sync_command()} < {shlex.quote(str(list_file))}"
    what = "1 run is logged" if len(logs) == 1 else f"{len(logs)} runs are logged"
    return [f"W&B: {what} on this machine only; send with: {command}"]

"""Write files so that they are either complete or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from script_exp.errors import UserError


def write_atomically(path: Path, contents: str | bytes) -> None:
    """Write ``contents`` to a temporary file beside ``path``, flush it to the disk, and rename it.

    Raises:
        UserError: if the disk is full or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _writable(path), temporary.open("wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append(path: Path, text: str) -> None:
    """Append ``text`` and flush it to the disk.

    Raises:
        UserError: if the disk is full or not writable; part of ``text`` may be written.
    """
    with _writable(path), path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}); fix this, then repeat the command to resume"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; NaN raises an error."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        remedy: what to do if it is damaged; None: remove its folder, a run directory.

    Raises:
        UserError: if it does not parse; the message has the file and the remedy.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        remedy = remedy or f"remove the folder {path.parent} to run this cell again"
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error

"""Write files so that they are either complete or absent."""

from __future__ import annotations

import json
import math
import os
import stat
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
        with writable(path), temporary.open("wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
            file.flush()
            os.fsync(file.fileno())
        with writable(path):
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append(path: Path, text: str) -> None:
    """Append ``text`` and flush it to the disk.

    Raises:
        UserError: if the disk is full or not writable; part of ``text`` may be written.
    """
    with writable(path), path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def check_is_file(path: Path) -> None:
    """Raise a :class:`UserError` if there is something else than a file, such as a folder or a pipe."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; remove it, then repeat the command")


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk while ``path`` is written into a :class:`UserError`."""
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
        FileNotFoundError: if there is none.
        UserError: if it does not parse; the message has the file and the remedy.
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except (ValueError, RecursionError) as error:
        remedy = remedy or f"remove the folder {path.parent} to run this cell again"
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON in UTF-8 without NaN and infinite numbers, which no file of a run has.

    Raises:
        ValueError: if it does not parse.
        RecursionError: if it is nested too deeply.
    """
    return json.loads(
        text.decode() if isinstance(text, bytes) else text, parse_constant=_no_number, parse_float=_finite
    )


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file of a run.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is a folder, a pipe or a device, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for its writer
            raise UserError(f"{path} is not a file; remove it, and {path.parent} to run this cell again")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number

"""Write files so that they are either complete or not there."""

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
        UserError: if the disk is full or cannot be written.
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
    """Add ``text`` and flush it to the disk.

    Raises:
        UserError: if the disk is full or cannot be written; a part of ``text`` may be there.
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
            f"cannot write {path} ({error.strerror}); once that is mended, the same command goes on where it "
            "stopped"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; not-a-number is an error, never written."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        remedy: what to do if it is damaged; to remove its folder, a run directory, if None.

    Raises:
        UserError: if it does not parse, naming the file and what to do.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        remedy = remedy or f"remove the folder {path.parent} to run this cell again"
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error

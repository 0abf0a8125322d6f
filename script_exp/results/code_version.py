"""Which version of this code runs."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def code_version() -> dict[str, Any]:
    """Version of the package, and of the checkout that it is in."""
    return {"script-exp": metadata.version("script-exp"), "git": git_state()}


def git_state() -> dict[str, Any] | None:
    """Commit and whether the tree differs from it; None outside a checkout or without git."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def file_hash(kind: type) -> str | None:
    """First 16 hex digits of the sha256 of the file that a class is in; None where there is no such file."""
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()[:16]
    except (TypeError, OSError):
        return None

"""The version of this code."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def code_version() -> dict[str, Any]:
    """Return the version of the package and of its checkout."""
    return {"script-exp": metadata.version("script-exp"), "git": git_state()}


def git_state() -> dict[str, Any] | None:
    """Return the commit and whether the tree differs from it; None outside a checkout or without git.

    An installed package may lie in the environment of another repository, which does not have this file.
    """
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def file_hash(*kinds: type) -> str | None:
    """Return the first 16 hex digits of the SHA-256 of classes' files; None if there is no such file."""
    try:
        files = dict.fromkeys(inspect.getfile(kind) for kind in kinds)
        return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:16]
    except (TypeError, OSError):
        return None

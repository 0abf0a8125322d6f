"""The version of this code."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_CODE = (
    "script_exp", "conf", "runners", "hydra_plugins", "benchmarks_speed/*.py", "pyproject.toml",
    "constraints.txt",
)  # fmt: skip
"""What a number can follow from, as git's patterns."""


def code_version() -> dict[str, Any]:
    """Return the version of the package and of its checkout."""
    return {"script-exp": metadata.version("script-exp"), "git": git_state()}


def git_state() -> dict[str, Any] | None:
    """Return the commit and whether the code differs from it; None outside a checkout or without git.

    ``dirty`` is about changed and new files among the code, the configs and the wanted versions of packages.
    What lies elsewhere in the checkout, such as runs, documents and tests, changes no number; the file of a
    method that lies elsewhere has its own hash (:func:`file_hash`). An installed package may lie in the
    environment of another repository, which does not have this file.
    """
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        code = [f":/{pattern}" for pattern in _CODE]  # from the root of the checkout
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--", *code))}
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

"""Read the ``result.json`` of a finished run."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.files import read_json
from script_exp.results.record import SCHEMA_VERSION, RunResult


def read_result(path: Path) -> dict[str, Any]:
    """Read a ``result.json`` as a dictionary.

    Raises:
        UserError: if it does not parse, is not a result, or has another schema version.
    """
    return check_result(read_json(path), str(path), f"remove the folder {path.parent} to run this cell again")


def check_result(result: Any, place: str, remedy: str) -> dict[str, Any]:
    """Return what was read from ``place`` if it is a result of this schema version.

    Raises:
        UserError: if it is not; the message ends with ``remedy``.
    """
    if not isinstance(result, dict) or "schema_version" not in result:
        raise UserError(f"{place} is damaged (not a result); {remedy}")
    if result["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{place} has schema version {result['schema_version']}; expected {SCHEMA_VERSION}; {remedy}"
        )
    required = {
        field.name for field in fields(RunResult) if field.default is field.default_factory is MISSING
    }
    missing = required - result.keys()
    if missing:
        raise UserError(f"{place} is damaged (it lacks {', '.join(sorted(missing))}); {remedy}")
    return result

"""Read the small JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from script_exp.errors import UserError


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a checkpoint.

    Raises:
        UserError: if the file is missing or holds anything else.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; expected a folder with the files of a checkpoint")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds {type(content).__name__}; expected a JSON object")
    return content

"""Read the models of ``conf/model`` without composing a whole run."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from script_exp.config.command_line import CONF
from script_exp.errors import unknown_name


def model_config(name: str) -> dict[str, Any]:
    """Return the settings of a model.

    Args:
        name: a file of ``conf/model``.

    Raises:
        UserError: if there is no such model.
    """
    files = {file.stem: file for file in (CONF / "model").glob("*.yaml")}
    if name not in files:
        raise unknown_name("model", name, files)
    return {str(key): value for key, value in OmegaConf.load(files[name]).items()}

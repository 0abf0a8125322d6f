"""What W&B accepts: names, their lengths, a login."""

from __future__ import annotations

import hashlib
import os

from script_exp.errors import SettingError, UserError
from script_exp.results.wandb_package import load
from script_exp.terminal.progress import note

NAME_LIMIT = 128
"""Characters of a project, an entity, a run's name or a group."""
TAG_LIMIT = 64
"""Characters of a tag."""
_REFUSED = "/\\#?%:"
# Variables that replace the id and the project of a run, as set by W&B's sweep and launch agents.
_OF_AN_AGENT = (
    "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME", "WANDB_LAUNCH",
    "WANDB_LAUNCH_CONFIG_PATH",
)  # fmt: skip


def forget_agent() -> None:
    """Remove the variables that replace a run's id, and print that they are ignored."""
    given = [name for name in _OF_AN_AGENT if os.environ.pop(name, None) is not None]
    if given:
        note(f"W&B: runs keep their own ids, so {', '.join(given)} are ignored")


def check_name(key: str, name: object) -> None:
    """Raise a :class:`SettingError` for a project or an entity that W&B refuses."""
    text = str(name)
    if name is None or not text.strip() or len(text) > NAME_LIMIT or set(text) & set(_REFUSED):
        refused = " ".join(_REFUSED)
        raise SettingError(key, name, f"a name of 1 to {NAME_LIMIT} characters without any of {refused}")


def check_login() -> None:
    """Raise a :class:`UserError` unless there are credentials for the W&B server; ask no server."""
    load()
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    try:
        settings = wandb_setup.singleton().settings
        host, key = settings.base_url, os.environ.get("WANDB_API_KEY")
        problem = wbauth.check_api_key(key) if key else None
        has_login = key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or settings.api_key
        has_login = has_login or wbauth.read_netrc_auth(host=host)
    except Exception as error:  # also what pydantic says about WANDB_* variables
        raise UserError(f"tracker.mode=online: {reason(error)}") from error
    if problem is not None:
        raise UserError(f"tracker.mode=online: WANDB_API_KEY is not valid: {problem}")
    if not has_login:
        raise SettingError(
            "mode",
            "online",
            f"a login for {host}: run wandb login or set WANDB_API_KEY, or use tracker.mode=offline",
        )


def reason(error: Exception) -> str:
    """Return an error on one line, without the API key."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "***") if key else text


def shortened(text: str, limit: int) -> str:
    """Return ``text`` in at most ``limit`` characters: both ends around a hash, so that it stays unique."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    head = limit // 2 - len(digest) - 2
    return f"{text[:head]}-{digest}-{text[head + len(digest) + 2 - limit :]}"

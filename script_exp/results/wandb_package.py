"""W&B's package, imported when the first run of a process is logged: quiet, cheap, and with one service.

The package takes longer to import than the logging of a run takes, so nothing else imports it. Any release
from 0.25 on works: settings that a release does not know are left out.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

_TIMEOUT_S = 30  # of the service at the start and at the end of a run
_SETTINGS = {
    "silent": True,
    "init_timeout": _TIMEOUT_S,
    "finish_timeout": _TIMEOUT_S,
    "finish_timeout_raises": True,
    # What the run directory has already: provenance.json and the log.
    "console": "off",
    "disable_git": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
}


def load() -> Any:
    """Import W&B; its reports of its own errors are off unless the user asks for them.

    They would leave the machine, also of a run that is logged offline. No run here is a job of W&B Launch,
    whose inputs W&B looks for; the modules that it imports for that take as long as all others together.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.Run._detect_and_apply_job_inputs = lambda run: None
    return wandb


def run_settings() -> Any:
    """Return the settings of a run."""
    settings = load().Settings
    known = set(settings.model_fields)
    return settings(**{key: value for key, value in _SETTINGS.items() if key in known})


def share_service() -> None:
    """Start W&B's service for this process and all processes that it starts from now on."""
    load().setup().ensure_service()


def leave_service() -> None:
    """Leave a service that failed; else W&B would meet it again, with a traceback, when the process ends."""
    with suppress(Exception):  # it unregisters its hook first
        load().teardown()

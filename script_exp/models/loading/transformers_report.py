"""Silence transformers while it loads a model, and check its loading report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging

from script_exp.errors import UserError


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and reports of transformers; :func:`check_report` checks the latter."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def check_report(setting: str, report: Mapping[str, Any]) -> None:
    """Raise a :class:`UserError` that lists missing, unexpected and mismatched tensors of a checkpoint."""
    problems = {
        kind: sorted(map(str, report[kind]))
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    if any(problems.values()):
        raise UserError(f"{setting}: the checkpoint does not match its config.json: {problems}")

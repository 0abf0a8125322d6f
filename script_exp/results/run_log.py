"""The log of a run, kept in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send the log of this package to a file while a cell runs."""
    logger = logging.getLogger("script_exp")
    handler = _QuietFileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False  # a sweep's own log goes to the terminal
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _QuietFileHandler(logging.FileHandler):
    """On a full disk the log ends; what the run itself cannot write is the error that counts."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

"""The log of a run, in its directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from script_exp.results.files import check_is_file, writable


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send the log of this package to a file while a cell runs.

    Raises:
        UserError: if the file cannot be written, or is a folder or a pipe, which would wait for its reader.
    """
    logger = logging.getLogger("script_exp")
    check_is_file(path)
    with writable(path):
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
    """A handler that ignores a full disk; the run itself reports an error when it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

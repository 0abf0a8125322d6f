"""Silence transformers while it loads a model, and check what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging

from script_exp.models.loading.tensors import check_names


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and reports of transformers; :func:`load_checked` checks the latter."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_checked(kind: Any, folder: Path, setting: str, **arguments: Any) -> Any:
    """Load a model of the class ``kind``; ``arguments`` are those of its ``from_pretrained``.

    Raises:
        UserError: if a tensor is missing, unexpected or of the wrong shape.
    """
    model, report = kind.from_pretrained(
        folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
    )
    check_names(
        setting, report["missing_keys"], report["unexpected_keys"], map(str, report["mismatched_keys"])
    )
    return model

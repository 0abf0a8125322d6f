"""The words of a command line: which are overrides, whether Hydra can read them, and how to quote them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser  # of hydra-core 1.3.8; it knows which words are options
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from script_exp.errors import UserError

# A folder called 2024 is usual; for Hydra it is a number.
_FOLDER_OF_DIGITS = re.compile(r"((?:outputs|data|benchmark\.data)=)([\d_.]*\d[\d_.]*)")


def parse_words(arguments: Sequence[str]) -> argparse.Namespace:
    """Return Hydra's options, and as ``overrides`` all other words."""
    return get_args_parser().parse_known_intermixed_args(arguments)[0]


def check_words(overrides: Sequence[str]) -> None:
    """Check that Hydra can read every word.

    Raises:
        UserError: for the first one that it cannot read; the message shows how to quote it.
    """
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise UserError(f"{word}: expected key=value, such as pruner=script")
        if not _is_readable(word):
            remedy = f"{key}={quoted(value)}"
            if not _is_readable(remedy):
                raise UserError(f"{word}: expected key=value, where the key has letters, digits, _ and dots")
            raise UserError(f"{word}: expected the value in quotes: {shlex.quote(remedy)}")


def with_folders_as_text(arguments: Sequence[str]) -> list[str]:
    """Put folders whose names are numbers for YAML in quotes: ``outputs=2024`` means the folder ``2024``."""
    return [
        _FOLDER_OF_DIGITS.sub(r"\1'\2'", word) if _FOLDER_OF_DIGITS.fullmatch(word) else word
        for word in arguments
    ]


def quoted(value: str) -> str:
    """Return ``value`` in the quotes that Hydra reads as the same text; a shell needs quotes around these."""
    return QuotedString(value, Quote.double).with_quotes()


def _is_readable(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    except ValueError:  # a number with too many digits for Python, which the check of the values reports
        return True
    return True

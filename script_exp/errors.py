"""Errors that the user can fix, printed as one sentence without a traceback; the exit code is 2."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

_NOT_SHOWN = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")  # newlines stay
_LONGEST = 4_000  # characters of a message


class UserError(Exception):
    """A wrong setting or file; the message says what is expected.

    It may quote a user's file: control characters are shown as escapes, and an endless text without its
    middle.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        return _NOT_SHOWN.sub(lambda found: repr(found[0])[1:-1], text)


class DataError(UserError):
    """An unusable image or video of a sample; ``benchmark.on_error=skip`` leaves the sample out."""


class SettingError(UserError):
    """A setting with an invalid value.

    Args:
        key: the setting as the user writes it, for example ``pruner.threshold``.
        value: the given value.
        expected: what is valid, as the end of the sentence "expected ...".
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"{key}={value}: expected {expected}")
        self.key, self.value, self.expected = key, value, expected

    def within(self, group: str) -> SettingError:
        """Return the same error with the key inside a group; the budget is in no group."""
        key = self.key if self.key == "budget" else f"{group}.{self.key}"
        return SettingError(key, self.value, self.expected)


def unknown_name(key: str, value: str, known: Iterable[str]) -> SettingError:
    """Return the error for an unknown name, which lists the known ones and suggests the closest."""
    names = sorted(known)
    return SettingError(
        key, value, f"one of {', '.join(names)} ({_hint(value, names)}each is a file in conf/{key})"
    )


def unknown_key(key: str, value: str, known: Iterable[str], owner: str = "") -> SettingError:
    """Return the error for an unknown key, which lists the known keys of ``owner`` (``group=name``)."""
    names = sorted(known)
    if not names:
        return SettingError(key, value, f"nothing: {key.rpartition('.')[0]} has no keys to set")
    hint = _hint(key.rpartition(".")[2], names).strip()
    keys = f"one of the keys {f'of {owner}: ' if owner else ''}{', '.join(names)}"
    return SettingError(key, value, keys + (f" ({hint})" if hint else ""))


def _hint(given: str, names: list[str]) -> str:
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def check_number(key: str, value: object, holds: Callable[[float], bool], expected: str) -> None:
    """Raise a :class:`SettingError` unless ``value`` is a number for which ``holds`` is true."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
        raise SettingError(key, value, expected)


def check_whole(key: str, value: object, lowest: int) -> None:
    """Raise a :class:`SettingError` unless ``value`` is a whole number of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise SettingError(key, value, f"a whole number >= {lowest}")


def check_choice(key: str, value: object, choices: tuple[object, ...], expected: str | None = None) -> None:
    """Raise a :class:`SettingError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise SettingError(key, value, expected or f"one of {', '.join(map(str, choices))}")

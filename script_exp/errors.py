"""Mistakes that the user can mend. They are shown as one sentence, without a traceback, with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A setting or a file that is not right; the message says what would be."""


class DataError(UserError):
    """Something wrong with a sample's image or video; ``benchmark.on_error=skip`` leaves the sample out."""


class SettingError(UserError):
    """A setting with a value that cannot be used.

    Args:
        key: the setting as the user writes it, for example ``pruner.threshold``.
        value: what was given.
        expected: what would be right, as the end of the sentence "expected ...".
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"{key}={value}: expected {expected}")
        self.key, self.value, self.expected = key, value, expected

    def within(self, group: str) -> SettingError:
        """The same error with the key as it stands in a group; the budget is not in one."""
        key = self.key if self.key == "budget" else f"{group}.{self.key}"
        return SettingError(key, self.value, self.expected)


def unknown_name(key: str, value: str, known: Iterable[str]) -> SettingError:
    """The error for a name that is not in a list, with the nearest names that are."""
    names = sorted(known)
    return SettingError(
        key, value, f"one of {', '.join(names)} ({_hint(value, names)}each is a file in conf/{key})"
    )


def unknown_key(key: str, value: str, known: Iterable[str], owner: str = "") -> SettingError:
    """The error for a key that does not exist, with those beside it, in ``owner`` (``group=name``)."""
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

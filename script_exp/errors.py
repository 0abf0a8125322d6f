"""Errors that the user can fix, printed as one sentence without a traceback; the exit code is 2."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable

LARGEST = 2**63 - 1
"""The largest whole number that pandas and numpy hold; JSON files of runs have no larger one."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# Control characters except newlines, and those that change the direction of the text around them.
_NOT_SHOWN = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
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
        return printable(text)


def printable(text: str) -> str:
    """Return ``text`` with control characters as escapes; a terminal would obey them. Newlines stay."""
    return _NOT_SHOWN.sub(lambda found: repr(found[0])[1:-1], text)


def on_one_line(text: str) -> str:
    """Return ``text`` as :func:`printable`, with newlines as escapes, too."""
    return printable(text).replace("\n", "\\n")


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
        """Return the same error with the key inside a group; the budget and the group itself are not."""
        key = self.key if self.key in ("budget", group) else f"{group}.{self.key}"
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


def check_whole(key: str, value: object, lowest: int, highest: int = LARGEST) -> None:
    """Raise a :class:`SettingError` unless ``value`` is a whole number from ``lowest`` to ``highest``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise SettingError(key, value, f"a whole number >= {lowest}")
    if value > highest:
        raise SettingError(key, value, f"a whole number from {lowest} to {highest}")


def check_storable(key: str, value: object) -> None:
    """Raise a :class:`SettingError` for a number in ``value`` that tables and JSON cannot hold.

    Args:
        key: the setting.
        value: a plain value; lists and dictionaries are searched.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            check_storable(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            check_storable(key, inner)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise SettingError(key, value, f"a number from -{LARGEST} to {LARGEST}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingError(key, value, "a finite number")


def check_name(key: str, value: object, reserved: tuple[str, ...] = ()) -> None:
    """Raise a :class:`SettingError` unless ``value`` is a name that is safe as the name of a folder.

    Args:
        key: the setting.
        value: its value.
        reserved: names that other folders have.
    """
    if not isinstance(value, str):
        raise SettingError(key, value, f"a name as text, in two kinds of quotes: {key}=\"'{value}'\"")
    if not _NAME.fullmatch(value):
        near = re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("-._")[:64]
        hint = f", for example {near}" if near else ""
        if key == "model.name" and "/" in value:
            hint += "; the checkpoint's folder or hub id is model.path"
        raise SettingError(
            key, value, f"1 to 64 letters (A-Z, a-z), digits, _, - and ., the first not - or .{hint}"
        )
    if value in reserved:
        raise SettingError(key, value, f"another name: outputs has its own folder {value}")


def check_choice(key: str, value: object, choices: tuple[object, ...], expected: str | None = None) -> None:
    """Raise a :class:`SettingError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise SettingError(key, value, expected or f"one of {', '.join(map(str, choices))}")

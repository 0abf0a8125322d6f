"""Check that what was read from a file of a run has the types of the dataclass that was written."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from script_exp.errors import LARGEST

_Test = Callable[[Any], bool]

_SHOWN = 60
"""Characters of a wrong value that a message shows."""


def problem_of(values: Any, kind: type, *, partly: bool = False) -> str | None:
    """Return what is wrong with the JSON object of a dataclass; None if nothing is.

    Args:
        values: the object.
        kind: the dataclass; its fields may be dataclasses, too.
        partly: whether fields may be missing.
    """
    if not isinstance(values, dict):
        return f"expected an object, not {_shown(values)}"
    for name, (test, expected, required, inner) in _fields(kind).items():
        if name not in values:
            if required and not partly:
                return f"it lacks {name}"
        elif not test(values[name]):
            within = problem_of(values[name], inner) if inner and values[name] is not None else None
            return f"{name}: {within}" if within else f"{name}={_shown(values[name])}: expected {expected}"
    return None


def finite_numbers(values: Any, *names: str) -> str | None:
    """Return what is wrong with an object without finite numbers under ``names``; None if nothing."""
    if not isinstance(values, dict):
        return f"expected an object, not {_shown(values)}"
    for name in names:
        if not _is_number(values.get(name)):
            return f"{name}={_shown(values.get(name))}: expected a number"
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@cache
def _fields(kind: type) -> dict[str, tuple[_Test, str, bool, type | None]]:
    """Return for each field of a dataclass: its test, its type in words, if it is required, its dataclass."""
    hints = get_type_hints(kind)
    found: dict[str, tuple[_Test, str, bool, type | None]] = {}
    for field in fields(kind):
        hint = hints[field.name]
        required = field.default is field.default_factory is MISSING
        parts = [hint, *get_args(hint)]
        inner = next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)
        found[field.name] = _test(hint), _in_words(hint), required, inner
    return found


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(_in_words, get_args(hint)))
    return words.get(hint, "an object" if is_dataclass(hint) else f"a {str(hint).replace('typing.', '')}")


def _test(hint: Any) -> _Test:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        tests = [_test(one) for one in inner]
        return lambda value: any(test(value) for test in tests)
    if origin is list:
        of_item = _test(inner[0])
        return lambda value: isinstance(value, list) and all(map(of_item, value))
    if origin is tuple:
        of_each = [_test(one) for one in inner]
        return lambda value: (
            isinstance(value, list)
            and len(value) == len(of_each)
            and all(test(one) for test, one in zip(of_each, value, strict=True))
        )
    if origin is dict:
        of_value = _test(inner[1])
        return lambda value: isinstance(value, dict) and all(map(of_value, value.values()))
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: problem_of(value, hint) is None
    return {int: _is_whole, float: _is_number, Any: _is_anything}.get(hint, lambda value: type(value) is hint)


def _is_whole(value: Any) -> bool:
    return type(value) is int and -LARGEST <= value <= LARGEST


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (type(value) is float and math.isfinite(value))


def _is_anything(_: Any) -> bool:
    return True

"""The hyper-parameters of a method, as runs record them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any


def non_default_fields(method: Any) -> dict[str, Any]:
    """Return the hyper-parameters, except the budget, that differ from the published defaults.

    Nested ones have names like ``graph.threshold``.
    """
    changed: dict[str, Any] = {}
    for one in fields(method):
        value = getattr(method, one.name)
        if one.name == "budget":
            continue
        if is_dataclass(value):
            changed |= {f"{one.name}.{key}": inner for key, inner in non_default_fields(value).items()}
        elif value != one.default:
            changed[one.name] = value
    return changed


def all_fields(method: Any) -> dict[str, Any]:
    """Return the hyper-parameters, except the budget; nested ones have names like ``graph.threshold``."""
    values: dict[str, Any] = {}
    for one in fields(method):
        value = getattr(method, one.name)
        if is_dataclass(value):
            values |= {f"{one.name}.{key}": inner for key, inner in all_fields(value).items()}
        elif one.name != "budget":
            values[one.name] = value
    return values

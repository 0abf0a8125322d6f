"""Helpers for questions with lettered choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LETTER_ANSWER = "\nAnswer with the option's letter from the given choices directly."


def lettered(choices: Iterable[str]) -> dict[str, str]:
    """Return the choices by letter: A, B, and so on."""
    return {chr(ord("A") + turn): choice for turn, choice in enumerate(choices)}


def listed(choices: Mapping[str, str], form: str = "{}. {}") -> str:
    """Return letters and choices, formatted with ``form``, one per line."""
    return "\n".join(form.format(letter, choice) for letter, choice in choices.items())

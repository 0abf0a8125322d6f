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


_MARKS_AROUND = (",", ".", "!", "?", ";", ":", "'", '"')
_STATED = (
    "answer is", "correct answer is", "best answer is", "correct option is", "best option is", "choice is",
    "correct choice is",
)  # fmt: skip
_PHRASES = (
    *_STATED, *(f"the {phrase}" for phrase in _STATED), "my answer is", "my choice is", "i choose",
    "i select", "i pick", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip
_FORMS = ("({})", "{}.", "{}:", "{})", "{} ", "{}")


def stated_letter(prediction: str, letters: str) -> str:
    """Return the letter that lmms-eval (since 0.7.2, ``mcq_extract.py``) reads from an answer; empty if none.

    The first of these that is there counts: a letter that the answer starts with; one that it ends with; the
    last letter whose first place after a phrase such as "the answer is" is known; the last "(A)"; the last
    "A."; "A:"; "A)"; "A" before a space; any "A". At the start and the end no other letter may be next to it,
    and marks around the answer do not count.

    Args:
        prediction: the model's answer.
        letters: the letters of the choices, each as one capital.
    """
    text = prediction.strip()
    for mark in _MARKS_AROUND:
        text = text.strip(mark)
    bare = text.strip()
    for end, neighbor in ((bare[:1], bare[1:2]), (bare[-1:], bare[-2:-1])):
        if end and end in letters and not neighbor.isalpha():
            return end
    text = f" {text} "
    lower = text.lower()
    starts = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    places = {text.find(letter, start): letter for start in starts for letter in letters}
    for form in _FORMS:
        if places and max(places) >= 0:
            break
        places = {text.rfind(form.format(letter)): letter for letter in letters}
    return places[max(places)] if max(places) >= 0 else ""

"""The letter that lmms-eval reads from an answer: examples, each by another of its rules."""

from __future__ import annotations

import pytest

from script_exp.benchmarks.rules.choices import stated_letter


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("B", "B"), ("B.", "B"), (" 'B'. ", "B"), ("B) red", "B"), ("A or B", "A"),  # starts
        ("Answer: B", "B"), ("Best option: A", "A"), ("I see (B) and C", "C"),  # ends
        ("The answer is D because", "D"), ("My answer is A, then B here", "B"), ("答案是C吗", "C"),  # phrases
        ("It is (A) and (B) here", "B"), ("see A. and C. here", "C"), ("so D: here", "D"),
        ("so C) here", "C"),
        ("The A here", "A"), ("a bAd", "A"), ("DOG", "D"),  # any capital
        ("b", ""), ("", ""), ("...", ""), ("E", ""), ("no letter", ""),
    ],
)  # fmt: skip
def test_the_letter(prediction, letter):
    assert stated_letter(prediction, "ABCD") == letter


def test_only_letters_of_choices_count():
    assert stated_letter("C", "AB") == ""
    assert stated_letter("E", "ABCDE") == "E"

"""Normalization of answers and soft accuracy, against examples worked out by hand."""

from __future__ import annotations

import pytest

from script_exp.benchmarks.rules.vqa import normalize, normalize_prediction, soft_accuracy, vqa_score


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog's bone.", "dog 's bone"),
        ("Two", "2"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("shed", "shed"),  # a word of its own: the table leaves it alone
        ("red/white", "red white"),
        ("red / white", "red white"),
        ("t-shirt", "t shirt"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("No. 5", "no 5"),
        ("Yes, a cat?", "yes cat"),
        ("YES!", "yes"),
        ("a\nCafé\tau lait ", "café au lait"),
        ("", ""),
        ("the", ""),
    ],
)
def test_predictions(text, expected):
    assert normalize_prediction(text) == expected


def test_references():
    assert normalize("dog's") == "dog's"  # only predictions are cut before 's
    assert normalize("1,000-2,000") == "10002000"  # a comma in a number takes all marks away
    assert normalize("1, 2") == "1 2"
    assert normalize("yes,no") == "yes no"


@pytest.mark.parametrize(("others", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy(others, expected):
    assert soft_accuracy("yes", ["yes"] * others + ["no"] * (10 - others)) == pytest.approx(expected)


def test_unanimous_references_are_not_normalized():
    assert vqa_score("cat", ["A cat"] * 10) == 0
    assert vqa_score("cat", ["A cat"] * 9 + ["dog"]) == 1
    assert vqa_score("2", ["two"] * 2 + ["three"] * 8) == pytest.approx(0.6)

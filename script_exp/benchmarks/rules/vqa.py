"""The soft accuracy of VQA (Antol et al., 2015) and the normalization of answers that goes with it.

Rules: https://visualqa.org/evaluation.html and its ``vqaEval.py``, preceded by the tokenization of LLaVA's
``m4c_evaluator.py`` and lmms-eval's ``vqa_eval_metric.py`` (both from Pythia). An answer that n of nine
people gave scores min(1, n / 3), averaged over the ten ways to leave one of the ten people out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {name: str(number) for number, name in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

# The official table repairs these words if one apostrophe is missing, and has no entry for other words.
_APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _repairs() -> dict[str, str]:
    pairs = {"somebody'd": "somebodyd"}  # the official table has this one reversed
    for word in _APOSTROPHES.split():
        for place, letter in enumerate(word):
            if letter == "'":
                pairs[word[:place] + word[place + 1 :]] = word
    return pairs


_REPAIRS = _repairs()
_ANY_PUNCTUATION = re.compile(f"[.{re.escape(_PUNCTUATION)}]")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32  # removed per answer; the official code passes a flag where re.sub takes this count


@lru_cache(maxsize=1 << 18)
def normalize(text: str) -> str:
    """Apply the official normalization: punctuation, case, number words, articles, contractions."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    if _ANY_PUNCTUATION.search(text):
        text = without_punctuation(text)
    words = (_WORDS.get(word, word) for word in text.lower().split())
    return " ".join(_REPAIRS.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(maxsize=1 << 18)
def normalize_prediction(text: str) -> str:
    """Normalize a prediction like LLaVA and lmms-eval: no commas or question marks, 's as a separate word."""
    return normalize(text.lower().replace(",", "").replace("?", "").replace("'s", " 's"))


def soft_accuracy(answer: str, references: Sequence[str]) -> float:
    """Return the mean of min(1, n / 3) over the people left out; n is how many others gave ``answer``."""
    same, others = references.count(answer), len(references) - references.count(answer)
    if not same:
        return 0.0
    return (same * min(1.0, (same - 1) / 3) + others * min(1.0, same / 3)) / len(references)


def vqa_score(answer: str, references: Sequence[str]) -> float:
    """Return the official score of a prediction that went through :func:`normalize_prediction`.

    The official code normalizes both sides only if the references are not all the same.
    """
    cleaned = [reference.replace("\n", " ").replace("\t", " ").strip() for reference in references]
    if len(set(cleaned)) == 1:
        return soft_accuracy(answer, cleaned)
    return soft_accuracy(normalize(answer), [normalize(reference) for reference in cleaned])


def raw_score(answer: str, references: Sequence[str]) -> float:
    """Return the score of VizWiz's evaluation, which normalizes the prediction but no reference.

    The prediction has already gone through :func:`normalize_prediction`, as in LLaVA's submission file.
    """
    return soft_accuracy(normalize(answer), references)


def normalized_score(answer: str, references: Sequence[str]) -> float:
    """Return the score of lmms-eval's VQA v2 for a prediction that went through :func:`normalize`.

    Unlike the official code, it always normalizes both sides.
    """
    return soft_accuracy(answer, [normalize(reference) for reference in references])


def m4c_score(answer: str, references: Sequence[str]) -> float:
    """Return the score of LLaVA's ``m4c_evaluator.py``, which normalizes references like predictions."""
    return soft_accuracy(answer, [normalize_prediction(reference) for reference in references])


def without_punctuation(text: str) -> str:
    """Remove marks next to a space, or all marks if a number has a comma; others become a space."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        gone = number or f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if gone else " ")
    return _PERIOD.sub("", result, count=_PERIODS)

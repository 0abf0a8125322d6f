"""The paired comparison, by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from script_exp.benchmarks.metric import MeanScore
from script_exp.results.compare import compare


def frame(scores):
    index = pd.Index(list("abcd"), name="id")
    return pd.DataFrame({"score": scores, "unit": ["1", "1", "2", "3"]}, index=index)


def test_counts_flips_both_ways():
    result = compare(MeanScore(), frame([0.0, 1.0, 1.0, 1.0]).iloc[::-1], frame([1.0, 1.0, 0.0, 1.0]))
    assert (result.difference, result.lost, result.won) == (0.0, 1, 1)
    assert result.interval[0] < 0 < result.interval[1]


def test_identical_runs_have_no_difference():
    result = compare(MeanScore(), frame([1.0, 0.0, 1.0, 1.0]), frame([1.0, 0.0, 1.0, 1.0]))
    assert result.interval == (0, 0)
    assert (result.difference, result.lost, result.won) == (0, 0, 0)


def test_other_samples_are_not_compared():
    with pytest.raises(ValueError, match="same samples"):
        compare(MeanScore(), frame([1.0] * 4), frame([1.0] * 4).iloc[:3])

"""The paired comparison, against values computed by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy import stats

from script_exp.analysis.comparison import compare, holm, mcnemar
from script_exp.benchmarks.rules.metric import MeanScore


def frame(scores):
    index = pd.Index(list("abcd"), name="id")
    return pd.DataFrame({"score": scores, "unit": ["1", "1", "2", "3"]}, index=index)


def test_counts_flips_both_ways():
    result = compare(MeanScore(), [frame([0.0, 1.0, 1.0, 1.0]).iloc[::-1]], [frame([1.0, 1.0, 0.0, 1.0])])
    assert (result.difference, result.lost, result.won) == (0.0, 1, 1)
    assert result.interval[0] < 0 < result.interval[1]


def test_identical_runs_have_no_difference():
    result = compare(MeanScore(), [frame([1.0, 0.0, 1.0, 1.0])], [frame([1.0, 0.0, 1.0, 1.0])])
    assert result.interval[0] < 0 < result.interval[1]  # three units cannot tell that no answer differs
    assert (result.difference, result.lost, result.won) == (0, 0, 0)
    assert (result.p_paired, result.p_mcnemar) == (1, 1)


def test_other_samples_are_not_compared():
    with pytest.raises(ValueError, match="same samples"):
        compare(MeanScore(), [frame([1.0] * 4)], [frame([1.0] * 4).iloc[:3]])


def test_one_unit_is_no_sample():
    """Each draw would be the same, and any difference certain."""
    one = [frame(scores).assign(unit="1") for scores in ([1.0] * 4, [0.0] * 4)]
    with pytest.raises(ValueError, match="all samples belong to one unit"):
        compare(MeanScore(), one[:1], one[1:])


def test_as_many_runs_of_the_one_as_of_the_other():
    for second in ([], [frame([1.0] * 4)] * 2):
        with pytest.raises(ValueError, match="as many runs"):
            compare(MeanScore(), [frame([1.0] * 4)], second)


def test_seeds_are_averaged_and_drawn_together():
    first, second = [frame([0.0, 1.0, 1.0, 0.0]), frame([0.0, 1.0, 0.0, 0.0])], [frame([1.0] * 4)]
    both = compare(MeanScore(), first, second * 2)
    assert both.difference == pytest.approx(-62.5)
    assert (both.lost, both.won, both.p_mcnemar) == (2 + 3, 0, None)


def test_seeds_without_effect_count_once():
    first, second = [frame([0.0, 1.0, 1.0, 0.0])], [frame([1.0] * 4)]
    alone = compare(MeanScore(), first, second)
    assert alone.difference == -50
    assert compare(MeanScore(), first * 3, second * 3) == alone


def test_a_large_difference_has_a_small_p_value():
    index = pd.Index(map(str, range(200)), name="id")
    units = [str(i // 2) for i in range(200)]
    right, wrong = (
        pd.DataFrame({"score": [score] * 200, "unit": units}, index=index) for score in (1.0, 0.0)
    )
    result = compare(MeanScore(), [wrong], [right])
    assert result.p_paired < 1e-9
    assert result.p_mcnemar == pytest.approx(2 / 2**200)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(2, 8) == pytest.approx(2 * (1 + 10 + 45) / 1024)


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (7, 12), (40, 41), (300, 210), (20_300, 19_700)])
def test_mcnemar_is_the_binomial_test(lost, won):
    assert mcnemar(lost, won) == pytest.approx(stats.binomtest(lost, lost + won).pvalue)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []

"""The interval of a metric and of a difference, against cases with a known answer, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from interval_coverage import of_a_difference, of_a_metric
from scipy import stats

from script_exp.benchmarks.mme import Perception
from script_exp.benchmarks.rules.metric import MeanScore
from script_exp.errors import UserError
from script_exp.measure.interval import Estimate, difference_interval, difference_p, metric_interval


def totals_of(scores, units):
    """(units, 2): sum of the scores and number of answers of every unit."""
    totals = {unit: np.zeros(2) for unit in units}
    for score, unit in zip(scores, units, strict=True):
        totals[unit] += (score, 1)
    return np.stack(list(totals.values()))


def mean_interval(scores, units):
    """The interval of a mean score."""
    return metric_interval(totals_of(scores, units), MeanScore().value)


def estimate(scores, units=None):
    return Estimate.of(totals_of(scores, units or range(len(scores))), MeanScore().value)


def test_independent_samples_have_the_binomial_width():
    generator = np.random.default_rng(1)
    scores = (generator.random(2000) < 0.7).astype(float)
    low, high = mean_interval(scores.tolist(), [str(i) for i in range(2000)])
    half = 1.96 * np.sqrt(scores.mean() * (1 - scores.mean()) / 2000)
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize(("count", "right"), [(40, 30), (200, 190), (1000, 3)])
def test_of_single_answers_it_is_nearly_wilsons(count, right):
    """Student's t instead of the normal quantile makes it a little wider."""
    scores = [1.0] * right + [0.0] * (count - right)
    wilson = stats.binomtest(right, count).proportion_ci(method="wilson")
    low, high = mean_interval(scores, range(count))
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=0.5 / count)
    assert low <= wilson.low
    assert high >= wilson.high


def test_copies_in_one_unit_add_no_certainty():
    generator = np.random.default_rng(2)
    scores = (generator.random(300) < 0.5).astype(float)
    units = [str(i) for i in range(300)]
    single = mean_interval(scores.tolist(), units)
    copied = mean_interval(np.repeat(scores, 7).tolist(), np.repeat(units, 7).tolist())
    assert copied == pytest.approx(single)


@pytest.mark.parametrize(("right", "expected"), [(1.0, (0.4385, 1.0)), (0.0, (0.0, 0.5615))])
def test_three_right_answers_of_three_do_not_make_a_perfect_method(right, expected):
    wilson = stats.binomtest(int(3 * right), 3).proportion_ci(method="wilson")
    assert (wilson.low, wilson.high) == pytest.approx(expected, abs=1e-4)
    low, high = mean_interval([right] * 3, "abc")
    assert low <= wilson.low
    assert high >= wilson.high
    assert low <= right <= high


def test_one_unit_says_nothing_about_others():
    assert mean_interval([1.0, 0.0], ["a", "a"]) is None


def test_is_the_same_every_time():
    scores, units = [0.0, 1.0, 1.0, 0.0, 1.0], list("abcde")
    assert mean_interval(scores, units) == mean_interval(scores, units)


def test_a_metric_in_points_has_its_interval_in_points():
    """Two subtasks of MME were asked, so at most 400 points can be had."""
    metric, sums = Perception(), np.zeros((4, 14, 4))
    sums[[0, 1], 0] = sums[[2, 3], 1] = (2, 2, 1, 1)
    totals = sums.reshape(4, 56)
    assert metric.highest(totals.sum(axis=0)) == 400
    low, high = metric_interval(totals, metric.value, 400)
    assert 100 < low < 400
    assert high == 400
    with pytest.raises(UserError, match=r"a metric is 400: expected 0 to 1, the value of Metric.highest"):
        metric_interval(totals, metric.value)


@pytest.mark.parametrize(
    ("world", "accuracy", "units"),
    [
        ("single answers", 0.5, 5),
        ("single answers", 0.9, 10),
        ("single answers", 0.95, 20),
        ("2 to 18 an image", 0.5, 10),
        ("2 to 18 an image", 0.9, 20),
        ("POPE F1", 0.9, 20),
        ("MME", 0.9, 50),
    ],
)
def test_of_few_units_it_covers_what_it_says(world, accuracy, units):
    """The percentile bootstrap covers 0.65 of 10 single answers at 0.9, and Student's t as few."""
    coverage, width = of_a_metric(world, accuracy, units, repeats=600, bootstrapped=0)["ours"]
    assert coverage > 0.92
    assert width < 0.85


@pytest.mark.parametrize("change", ["lost 10 %, won 5 %", "lost 2 %, won 0"])
def test_of_a_difference_on_few_units_too(change):
    found = of_a_difference(change, 10, repeats=600, bootstrapped=200)
    assert found["ours"][0] > 0.88
    assert found["percentile"][0] < found["ours"][0] - 0.02


def test_equal_runs_may_differ_elsewhere_but_no_p_value_says_so():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    low, high = difference_interval(estimate(scores), estimate(scores))
    assert low <= 0 <= high
    assert difference_p(estimate(scores), estimate(scores)) == 1


def test_the_p_value_is_where_the_interval_reaches_zero():
    generator = np.random.default_rng(3)
    before = (generator.random(60) < 0.8).astype(float)
    after = np.where(generator.random(60) < 0.2, 0.0, before)
    first, second = estimate(after), estimate(before)
    p = difference_p(first, second)
    assert 0 < p < 0.05
    low, high = difference_interval(first, second, float(stats.t.ppf(1 - p / 2, 59)))
    assert high == pytest.approx(0, abs=1e-9)
    assert low < -0.1
    assert difference_p(second, first) == pytest.approx(p)

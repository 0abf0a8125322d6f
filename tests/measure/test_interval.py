"""The bootstrap interval, against cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from script_exp.benchmarks.rules.metric import MeanScore
from script_exp.measure.interval import bootstrap_interval as of_totals


def bootstrap_interval(scores, units):
    """The interval of a mean score."""
    totals = {unit: np.zeros(2) for unit in units}
    for score, unit in zip(scores, units, strict=True):
        totals[unit] += (score, 1)
    return of_totals(np.stack(list(totals.values())), MeanScore().value)


def test_independent_samples_have_the_binomial_width():
    generator = np.random.default_rng(1)
    scores = (generator.random(2000) < 0.7).astype(float)
    low, high = bootstrap_interval(scores.tolist(), [str(i) for i in range(2000)])
    half = 1.96 * np.sqrt(scores.mean() * (1 - scores.mean()) / 2000)
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize(("count", "share"), [(30, 0.5), (200, 0.8)])
def test_it_is_the_percentile_bootstrap(count, share):
    scores = (np.random.default_rng(count).random(count) < share).astype(float)
    ours = bootstrap_interval(scores.tolist(), [str(i) for i in range(count)])
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours == pytest.approx(
        (theirs.low, theirs.high), abs=1.01 / count
    )  # means are multiples of 1 / count


def test_copies_in_one_unit_add_no_certainty():
    generator = np.random.default_rng(2)
    scores = (generator.random(300) < 0.5).astype(float)
    units = [str(i) for i in range(300)]
    single = bootstrap_interval(scores.tolist(), units)
    copied = bootstrap_interval(np.repeat(scores, 7).tolist(), np.repeat(units, 7).tolist())
    assert copied == pytest.approx(single)


def test_equal_scores_have_no_width():
    assert bootstrap_interval([1.0, 1.0, 1.0], ["a", "b", "c"]) == (1.0, 1.0)


def test_one_unit_says_nothing_about_others():
    assert bootstrap_interval([1.0, 0.0], ["a", "a"]) is None


def test_is_the_same_every_time():
    scores, units = [0.0, 1.0, 1.0, 0.0, 1.0], list("abcde")
    assert bootstrap_interval(scores, units) == bootstrap_interval(scores, units)

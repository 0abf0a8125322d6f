"""Compare two methods on the same samples: the paired difference, and whether it can be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from scipy.special import bdtr  # scipy.stats takes a second to import

from script_exp.benchmarks.rules.metric import Metric, Scored
from script_exp.measure.interval import Estimate, difference_interval, difference_p


@dataclass(frozen=True)
class Comparison:
    """Paired comparison on the samples that both methods answered.

    Attributes:
        difference: first minus second, in the metric's unit as printed; the mean over seeds.
        interval: its 95 % interval, paired over units (:mod:`script_exp.measure.interval`).
        lost: number of answers that score lower than the second method's, over all seeds.
        won: number of answers that score higher.
        p_paired: two-sided p-value of no difference: 1 less the level at which the interval reaches 0. It
            accounts for the dependence of questions on one image.
        p_mcnemar: exact two-sided McNemar test of ``lost`` against ``won`` (the sign test if scores are not
            just 0 and 1). It assumes independent answers. None for several seeds, because their answers to
            one question are dependent.
    """

    difference: float
    interval: tuple[float, float]
    lost: int
    won: int
    p_paired: float
    p_mcnemar: float | None


def compare(metric: Metric, first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> Comparison:
    """Compare the samples of two methods; if no score of either depends on the seed, one seed counts.

    Args:
        first: samples of the first method, one frame per seed
            (:func:`script_exp.results.read.load_samples`).
        second: samples of the second method, for the same seeds.

    Raises:
        ValueError: if the methods differ in their number of runs or have none, if any two runs did not
            answer the same samples, or if all samples belong to one unit.
    """
    frames = [*first, *second]
    if len(first) != len(second) or not frames:
        raise ValueError("expected as many runs of the first method as of the second, and at least one")
    if any(set(frame.index) != set(frames[0].index) for frame in frames):
        raise ValueError("the runs did not answer the same samples")
    after = [frame.reindex(frames[0].index) for frame in first]
    before = [frame.reindex(frames[0].index) for frame in second]
    if _all_alike(after) and _all_alike(before):
        after, before = after[:1], before[:1]
    first_mean, second_mean = (_estimate(metric, side) for side in (after, before))
    low, high = difference_interval(first_mean, second_mean)
    flips = np.concatenate([(a["score"] - b["score"]).to_numpy() for a, b in zip(after, before, strict=True)])
    lost, won = int((flips < 0).sum()), int((flips > 0).sum())
    return Comparison(
        difference=metric.scale * (first_mean.value - second_mean.value),
        interval=(metric.scale * low, metric.scale * high),
        lost=lost,
        won=won,
        p_paired=difference_p(first_mean, second_mean),
        p_mcnemar=mcnemar(lost, won) if len(after) == 1 else None,
    )


def mcnemar(lost: int, won: int) -> float:
    """Return the exact two-sided p-value of ``lost`` and ``won`` flips if both are equally likely."""
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's (1979) step-down method, so that they hold for the whole family of tests."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _all_alike(frames: Sequence[pd.DataFrame]) -> bool:
    return all((frame["score"] == frames[0]["score"]).all() for frame in frames)


def _estimate(metric: Metric, frames: Sequence[pd.DataFrame]) -> Estimate:
    """Return the mean of the metric over seeds; a unit is left out of all of them at once."""
    totals = [metric.by_unit(cast(list[Scored], list(frame.itertuples()))) for frame in frames]
    if len(totals[0]) < 2:
        raise ValueError("all samples belong to one unit, so nothing tells how much units differ")
    sums = totals[0].shape[1]

    def mean(together: np.ndarray) -> np.ndarray:
        value: np.ndarray = metric.value(together.reshape(*together.shape[:-1], len(frames), sums)).mean(
            axis=-1
        )
        return value

    return Estimate.of(np.concatenate(totals, axis=1), mean, metric.highest(totals[0].sum(axis=0)))

"""Two methods on the same samples: how far apart they are, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from scipy.special import bdtr  # scipy.stats takes a second to import

from script_exp.benchmarks.rules.metric import Metric, Scored
from script_exp.measure.interval import bootstrap_draws


@dataclass(frozen=True)
class Comparison:
    """Paired comparison on the samples that both methods answered.

    Attributes:
        difference: first minus second, in the metric's unit as printed; the mean over seeds.
        interval: its 95 % interval (paired bootstrap over units, the same draw for all seeds).
        lost: answers with a lower score than the second method's, over all seeds.
        won: answers with a higher score.
        p_bootstrap: two-sided p-value of no difference, 2 (b + 1) / (draws + 1) with b of the bootstrap's
            draws at or beyond zero. It respects that questions on one image go together.
        p_mcnemar: exact two-sided McNemar test of ``lost`` against ``won``, which takes every answer as
            independent (the sign test where scores are not just 0 and 1). None for several seeds, whose
            answers to one question are not.
    """

    difference: float
    interval: tuple[float, float]
    lost: int
    won: int
    p_bootstrap: float
    p_mcnemar: float | None


def compare(metric: Metric, first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> Comparison:
    """Compare two methods' samples. Seeds that changed no answer of either, where nothing draws, count once.

    Args:
        first: its samples, a frame per seed as :func:`script_exp.results.read.load_samples` gives it.
        second: those of the other, of the same seeds.

    Raises:
        ValueError: if there are no runs, or any two have not answered the same samples.
    """
    frames = [*first, *second]
    if len(first) != len(second) or not frames:
        raise ValueError("a comparison needs as many runs of the one as of the other, and at least one")
    if any(set(frame.index) != set(frames[0].index) for frame in frames):
        raise ValueError("the runs have not answered the same samples")
    after = [frame.reindex(frames[0].index) for frame in first]
    before = [frame.reindex(frames[0].index) for frame in second]
    if _all_alike(after) and _all_alike(before):
        after, before = after[:1], before[:1]
    totals = [metric.by_unit(cast(list[Scored], list(frame.itertuples()))) for frame in [*after, *before]]
    sums, seeds = totals[0].shape[1], len(after)

    def difference(together: np.ndarray) -> np.ndarray:
        values = metric.value(together.reshape(*together.shape[:-1], 2 * seeds, sums))
        change: np.ndarray = values[..., :seeds].mean(axis=-1) - values[..., seeds:].mean(axis=-1)
        return change

    paired = np.concatenate(totals, axis=1)
    if len(paired) < 2:
        raise ValueError("all samples are of one unit, so there is nothing to draw from")
    draws = bootstrap_draws(paired, difference)
    low, high = np.quantile(draws, [0.025, 0.975])
    flips = np.concatenate([(a["score"] - b["score"]).to_numpy() for a, b in zip(after, before, strict=True)])
    lost, won = int((flips < 0).sum()), int((flips > 0).sum())
    return Comparison(
        difference=metric.scale * float(difference(paired.sum(axis=0))),
        interval=(metric.scale * float(low), metric.scale * float(high)),
        lost=lost,
        won=won,
        p_bootstrap=_two_sided(draws),
        p_mcnemar=mcnemar(lost, won) if seeds == 1 else None,
    )


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided p-value that of ``lost + won`` flips so few go one way, if both ways are as likely."""
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction: p-values that hold for the whole family of tests at once."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _all_alike(frames: Sequence[pd.DataFrame]) -> bool:
    return all((frame["score"] == frames[0]["score"]).all() for frame in frames)


def _two_sided(draws: np.ndarray) -> float:
    """Never zero: with that many draws no p-value below ``2 / (draws + 1)`` can be told from another."""
    smaller = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(draws) + 1))

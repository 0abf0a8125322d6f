"""The uncertainty of a mean score, by bootstrap over the units that are independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 10_000
_BLOCK = 2_000_000  # numbers drawn at a time, whatever the size of the benchmark
_SEED = 0  # the interval of a finished run must not change when it is computed again


def bootstrap_interval(scores: Sequence[float], units: Sequence[str]) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``scores`` when whole units are drawn with replacement.

    Args:
        scores: one number per sample; differences for a paired comparison.
        units: what each sample belongs to, for example its image; samples of one unit stay together.

    Returns:
        lower and upper end, in the unit of the scores.
    """
    _, member = np.unique(np.asarray(units), return_inverse=True)
    total = np.bincount(member, weights=np.asarray(scores, dtype=np.float64))
    size = np.bincount(member).astype(np.float64)
    generator = np.random.default_rng(_SEED)
    share = np.full(len(size), 1 / len(size))
    means = []
    rows = max(1, _BLOCK // len(size))
    for start in range(0, _RESAMPLES, rows):
        draws = generator.multinomial(len(size), share, min(rows, _RESAMPLES - start))
        means.append((draws @ total) / (draws @ size))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)

"""The uncertainty of a metric, by bootstrap over independent units."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_RESAMPLES = 10_000
_BLOCK = 2_000_000  # counts drawn at a time, which bounds the memory for any benchmark
_SEED = 0  # the same samples always give the same interval


def bootstrap_draws(totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return (draws,) values of a metric when whole units are drawn with replacement.

    Args:
        totals: (units, sums) what each unit, for example the questions on one image, adds to the sums that
            the metric is computed from.
        value: maps sums (draws, sums) to the metric (draws,).
    """
    # Units with equal totals are drawn as one kind: same distribution, and few kinds to count.
    kinds, frequencies = np.unique(totals, axis=0, return_counts=True)
    return np.concatenate([value(counts @ kinds) for counts in _counts(frequencies)])


def _counts(frequencies: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks (draws, kinds) of how many units of each kind are drawn; the seed is fixed."""
    generator = np.random.default_rng(_SEED)
    units = frequencies.sum()
    rows = max(1, _BLOCK // len(frequencies))
    for start in range(0, _RESAMPLES, rows):
        drawn = generator.multinomial(units, frequencies / units, min(rows, _RESAMPLES - start))
        yield drawn.astype(np.float64)


def bootstrap_interval(
    totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval, (lower, upper); None for a single unit, which has no spread.

    Arguments as for :func:`bootstrap_draws`.
    """
    if len(totals) < 2:
        return None
    low, high = np.quantile(bootstrap_draws(totals, value), [0.025, 0.975])
    return float(low), float(high)

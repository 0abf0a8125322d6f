"""The uncertainty of a number, by bootstrap over the units that are independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_RESAMPLES = 10_000
_BLOCK = 2_000_000  # numbers drawn at a time, whatever the size of the benchmark
_SEED = 0  # the same samples always give the same interval


def bootstrap_draws(totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(draws,) values of a number when whole units are drawn with replacement.

    Args:
        totals: (units, sums) what each unit, for example the questions on one image, adds to the number's
            sums.
        value: from sums (draws, sums) to the number (draws,).
    """
    # Units that add the same are drawn together: the same distribution, with few kinds of units to count.
    kinds, frequencies = np.unique(totals, axis=0, return_counts=True)
    return np.concatenate([value(counts @ kinds) for counts in _counts(frequencies)])


def _counts(frequencies: np.ndarray) -> Iterator[np.ndarray]:
    """(draws, kinds) how many units of each kind are drawn, a block at a time; always the same."""
    generator = np.random.default_rng(_SEED)
    units = frequencies.sum()
    rows = max(1, _BLOCK // len(frequencies))
    for start in range(0, _RESAMPLES, rows):
        drawn = generator.multinomial(units, frequencies / units, min(rows, _RESAMPLES - start))
        yield drawn.astype(np.float64)


def bootstrap_interval(
    totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float] | None:
    """95 % percentile interval: lower and upper end; None for a single unit, which says nothing about others.

    Arguments as for :func:`bootstrap_draws`.
    """
    if len(totals) < 2:
        return None
    low, high = np.quantile(bootstrap_draws(totals, value), [0.025, 0.975])
    return float(low), float(high)

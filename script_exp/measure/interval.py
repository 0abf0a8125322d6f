"""The uncertainty of a number, by bootstrap over the units that are independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

_RESAMPLES = 10_000
_BLOCK = 2_000_000  # numbers drawn at a time, whatever the size of the benchmark
_KEPT = 5_000_000  # numbers that are kept for the next call, 40 MB
_SEED = 0  # the interval of a finished run must not change when it is computed again


def bootstrap_draws(totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(draws,) values of a number when whole units are drawn with replacement.

    Args:
        totals: (units, sums) what each unit, for example the questions on one image, adds to the number's
            sums.
        value: from sums (draws, sums) to the number (draws,).
    """
    units = len(totals)
    blocks = _kept_counts(units) if units * _RESAMPLES <= _KEPT else _counts(units)
    return np.concatenate([value(counts @ totals) for counts in blocks])


def _counts(units: int) -> Iterator[np.ndarray]:
    """(draws, units) how often each unit is drawn, a block at a time; always the same."""
    generator = np.random.default_rng(_SEED)
    share = np.full(units, 1 / units)
    rows = max(1, _BLOCK // units)
    for start in range(0, _RESAMPLES, rows):
        yield generator.multinomial(units, share, min(rows, _RESAMPLES - start)).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_counts(units: int) -> list[np.ndarray]:
    """The same, kept: tables compare many runs of one benchmark."""
    return list(_counts(units))


def bootstrap_interval(totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """95 % percentile interval: lower and upper end. Arguments as for :func:`bootstrap_draws`."""
    low, high = np.quantile(bootstrap_draws(totals, value), [0.025, 0.975])
    return float(low), float(high)

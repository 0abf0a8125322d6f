"""The uncertainty of a metric that is computed from independent units, also if there are few of them.

The interval is Wilson's (1927) with two changes that are usual for clustered samples (Korn and Graubard,
1998): the number of answers is the effective one, p (1 - p) / variance, with the variance from a jackknife
over units; and Student's t replaces the normal quantile. The limits of a difference come from the two
intervals and their correlation (Newcombe, 1998; Zou and Donner, 2008). docs/measurement.md has the coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from script_exp.errors import UserError

_LEVEL = 0.95
_NOTHING = 1e-20  # a variance of shares below this is a rounding error
_FARTHEST, _HALVINGS = 1e6, 70  # a quantile beyond which a p-value is 0; steps to find one below


@dataclass(frozen=True)
class Estimate:
    """A metric with what is needed for its interval.

    Attributes:
        share: the metric as a share of its largest possible value.
        highest: the largest possible value; the smallest is 0.
        errors: (units,) by how much each unit moves ``share``; their squares sum to its variance.
    """

    share: float
    highest: float
    errors: np.ndarray

    @property
    def value(self) -> float:
        """The metric."""
        return self.share * self.highest

    @classmethod
    def of(
        cls, totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray], highest: float = 1.0
    ) -> Estimate:
        """Estimate a metric's error by leaving out each unit in turn.

        Args:
            totals: (units, sums) what each unit, for example the questions on one image, adds to the sums
                that the metric is computed from; two units or more.
            value: maps sums (..., sums) to the metric (...).
            highest: the metric's largest possible value.

        Raises:
            UserError: if the metric is not between 0 and ``highest``.
        """
        together = totals.sum(axis=0)
        share = float(value(together)) / highest if highest else 0.0
        if not -1e-9 <= share <= 1 + 1e-9:
            raise UserError(
                f"a metric is {share * highest:g}: expected 0 to {highest:g}, the value of Metric.highest"
            )
        without = value(together - totals) / (highest or 1.0)
        units = len(totals)
        errors = sqrt((units - 1) / units) * (without - without.mean())
        return cls(min(max(share, 0.0), 1.0), highest, errors)

    def interval(self, quantile: float | None = None) -> tuple[float, float]:
        """Return the interval (lower, upper), of 95 % unless another t quantile is given."""
        t = _quantile(len(self.errors)) if quantile is None else quantile
        answers, p = self._effective_answers, self.share
        center = (p + t**2 / (2 * answers)) / (1 + t**2 / answers)
        half = t / (1 + t**2 / answers) * sqrt(p * (1 - p) / answers + t**2 / (4 * answers**2))
        low, high = min(center - half, p), max(center + half, p)  # rounding must not exclude p
        return self.highest * max(low, 0.0), self.highest * min(high, 1.0)

    @property
    def _effective_answers(self) -> float:
        """Number of independent answers with this variance; of units that do not differ, each is one."""
        variance, spread = float((self.errors**2).sum()), self.share * (1 - self.share)
        return spread / variance if min(variance, spread) > _NOTHING else float(len(self.errors))


def metric_interval(
    totals: np.ndarray, value: Callable[[np.ndarray], np.ndarray], highest: float = 1.0
) -> tuple[float, float] | None:
    """Return the 95 % interval, (lower, upper); None for a single unit, which has no spread.

    Arguments as for :meth:`Estimate.of`.
    """
    return Estimate.of(totals, value, highest).interval() if len(totals) > 1 else None


def difference_interval(
    first: Estimate, second: Estimate, quantile: float | None = None
) -> tuple[float, float]:
    """Return the interval of first minus second on the same units, of 95 % unless a t quantile is given."""
    t = _quantile(len(first.errors)) if quantile is None else quantile
    one, other = first.value, second.value
    (low, high), (other_low, other_high) = first.interval(t), second.interval(t)
    norms = float(np.linalg.norm(first.errors) * np.linalg.norm(second.errors))
    alike = float(first.errors @ second.errors) / norms if norms > _NOTHING else 0.0
    below = _combined(one - low, other_high - other, alike)
    above = _combined(high - one, other - other_low, alike)
    return one - other - below, one - other + above


def difference_p(first: Estimate, second: Estimate) -> float:
    """Return the two-sided p-value of no difference: 1 less the level at which the interval reaches 0."""

    def distance(quantile: float) -> float:
        """Return how far the interval's nearer end is beyond 0; negative if it includes 0."""
        low, high = difference_interval(first, second, quantile)
        return max(low, -high)

    if distance(0.0) <= 0:
        return 1.0
    if distance(_FARTHEST) > 0:
        return 0.0
    inside, outside = _FARTHEST, 0.0
    for _ in range(_HALVINGS):  # scipy.optimize takes a second to import
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if distance(middle) <= 0 else (inside, middle)
    return 2 * float(stdtr(len(first.errors) - 1, -inside))


def _combined(one: float, other: float, alike: float) -> float:
    """Return the distance of a difference's limit from the distances of the two limits that it is made of."""
    return sqrt(max(one**2 - 2 * alike * one * other + other**2, 0.0))


def _quantile(units: int) -> float:
    return float(stdtrit(units - 1, (1 + _LEVEL) / 2))

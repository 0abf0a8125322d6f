"""How many samples tell two methods apart that differ by d points: simulated from finished runs.

Answers of two runs to the same questions stay together by unit (the questions on one image). A simulated
benchmark draws units with replacement. Then answers are turned at random, each by itself, so that the
expected difference is d, in the direction of the observed one: lost ones into won ones to raise it, won
ones into lost ones to lower it. The methods so differ on as many answers as observed; only if that is less
than d percent, equal answers are turned, too. The power is the share of simulated benchmarks in which
McNemar's exact test (1947) finds a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from script_exp.analysis.comparison import mcnemar

_FIRST, _MOST = 16, 10_000_000
"""Where the search for a number of samples starts and ends."""
_CLOSE = 1.02
"""The search stops when its limits differ by this factor; the simulation is not more precise."""


@dataclass(frozen=True)
class Flips:
    """How the answers of two methods to the same questions differ.

    Attributes:
        counts: (units, 3) for each unit, the numbers of answers that the first method won, which score
            higher, that it lost, and that score the same.
    """

    counts: np.ndarray

    @classmethod
    def of(cls, first: pd.DataFrame, second: pd.DataFrame) -> Flips:
        """Compare the samples of two runs (:func:`script_exp.results.read.load_samples`).

        Raises:
            ValueError: if they did not answer the same samples, or a sample has no score or unit.
        """
        for samples, name in ((first, "score"), (second, "score"), (first, "unit")):
            if name not in samples or samples[name].isna().any():
                raise ValueError(f"not every sample has a {name}")
        if set(first.index) != set(second.index):
            raise ValueError("the runs did not answer the same samples")
        change = first["score"] - second["score"].reindex(first.index)
        kinds = pd.DataFrame({"won": change > 0, "lost": change < 0, "same": change == 0})
        return cls(kinds.groupby(first["unit"].astype(str)).sum().to_numpy(dtype=np.int64))

    @property
    def samples(self) -> int:
        """Number of answers of each method."""
        return int(self.counts.sum())

    @property
    def share(self) -> float:
        """Share of the answers that differ."""
        return float(self.counts[:, :2].sum() / self.samples)


@dataclass(frozen=True)
class Simulation:
    """How power is simulated.

    Attributes:
        repeats: number of simulated benchmarks.
        level: significance level of the two-sided test.
        seed: of the draws.
    """

    repeats: int = 2_000
    level: float = 0.05
    seed: int = 0

    def power(self, flips: Flips, points: float, samples: int) -> float:
        """Return how often ``samples`` samples show a difference of ``points`` percent of the answers.

        With ``points=0`` this is the share of false alarms, above ``level`` if answers to one image cluster.
        """
        random = np.random.default_rng([self.seed, samples])
        # Equal units are drawn together: there are few kinds of them.
        kinds, numbers = np.unique(flips.counts, axis=0, return_counts=True)
        if kinds[:, 0] @ numbers < kinds[:, 1] @ numbers:
            kinds = kinds[:, [1, 0, 2]]  # the better method is the first
        units = max(1, round(samples * len(flips.counts) / flips.samples))
        won, lost, same = (random.multinomial(units, numbers / numbers.sum(), self.repeats) @ kinds).T
        won_share, lost_share, same_share = numbers @ kinds / flips.samples
        more = points / 100 - (won_share - lost_share)
        if more < 0:
            turned = -random.binomial(won, -more / 2 / won_share)
        else:
            turned = random.binomial(lost, min(1.0, more / 2 / lost_share) if lost_share else 0.0)
        won, lost = won + turned, lost - turned
        if points / 100 > flips.share:
            won = won + random.binomial(same, (points / 100 - flips.share) / same_share)
        pairs, times = np.unique(np.stack([lost, won], axis=1), axis=0, return_counts=True)
        found = [mcnemar(int(one), int(other)) <= self.level for one, other in pairs]
        return float(times[found].sum() / self.repeats)

    def samples_for(self, flips: Flips, points: float, power: float) -> int | None:
        """Return how many samples show a difference of ``points`` with this power, to two digits.

        None: more than ten million.
        """
        low, high = _FIRST // 2, _FIRST
        while self.power(flips, points, high) < power:
            low, high = high, 2 * high
            if high > _MOST:
                return None
        while high > low * _CLOSE + 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(flips, points, middle) >= power else (middle, high)
        step: int = 10 ** max(0, len(str(high)) - 2)
        return -(-high // step) * step

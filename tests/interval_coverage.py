"""Simulate how often nominal 95 % intervals contain the truth: ours, Student's t, and two bootstraps.

python tests/interval_coverage.py docs/interval_coverage.csv    # about ten minutes on one core
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from script_exp.benchmarks.mme import Perception
from script_exp.benchmarks.pope import MeanF1
from script_exp.benchmarks.rules.metric import MeanScore
from script_exp.measure.interval import Estimate, difference_interval

ACCURACIES = (0.5, 0.7, 0.9, 0.95, 0.99)
UNITS = (5, 10, 20, 50, 100, 500)
REPEATS = 1000
BOOTSTRAPPED = 200  # of the repeats; a bootstrap takes most of the time
_RESAMPLES = 499


def unit_accuracies(accuracy: float, alike: float, units: int, draw: np.random.Generator) -> np.ndarray:
    """The chance of a right answer in every unit; ``alike`` is the correlation of two answers in one unit."""
    if alike == 0:
        return np.full(units, accuracy)
    concentration = 1 / alike - 1
    return draw.beta(accuracy * concentration, (1 - accuracy) * concentration, units)


def single(accuracy, units, draw):
    """One question an image; also MMBench's circular groups, of which each is right or wrong."""
    return np.stack([draw.random(units) < accuracy, np.ones(units)], axis=-1).astype(float)


def clustered(accuracy, units, draw, alike=0.2):
    """2 to 18 questions an image, whose answers are alike."""
    asked = draw.integers(2, 19, units)
    right = draw.binomial(asked, unit_accuracies(accuracy, alike, units, draw))
    return np.stack([right, asked], axis=-1).astype(float)


def pope(accuracy, units, draw):
    """Three questions with yes and three with no an image, in each of three categories."""
    chance = unit_accuracies(accuracy, 0.2, units, draw)
    sums = np.zeros((units, 3, 4))
    for category in range(3):
        yes, no = draw.binomial(3, chance), draw.binomial(3, chance)
        sums[:, category] = np.stack([yes, 3 - no, 3 - yes, np.full(units, 6)], axis=-1)
    return sums.reshape(units, 12)


def mme(accuracy, units, draw):
    """A pair of questions an image; the images take turns among the 14 subtasks."""
    right = draw.binomial(2, unit_accuracies(accuracy, 0.2, units, draw))
    sums = np.zeros((units, 14, 4))
    pairs = np.stack([right, np.full(units, 2), right == 2, np.ones(units)], axis=-1)
    sums[np.arange(units), np.arange(units) % 14] = pairs
    return sums.reshape(units, 56)


WORLDS = {
    "single answers": (single, MeanScore()),
    "2 to 18 an image": (clustered, MeanScore()),
    "POPE F1": (pope, MeanF1()),
    "MME": (mme, Perception()),
}
CHANGES = {
    "lost 10 %, won 5 %": (0.1, 0.05),
    "lost 5 %, won 5 %": (0.05, 0.05),
    "lost 2 %, won 0": (0.02, 0.0),
}


def pairs(lost, won, units, draw, accuracy=0.8):
    """Two methods on 2 to 18 questions an image: (units, 4), right and asked of each."""
    before = clustered(accuracy, units, draw)
    right, asked = before.T.astype(int)
    gone = draw.binomial(right, unit_accuracies(lost / accuracy, 0.2, units, draw))
    new = draw.binomial(asked - right, won / (1 - accuracy))
    return np.concatenate([np.stack([right - gone + new, asked], axis=-1), before], axis=1)


def bootstraps(totals, value, draw):
    """The percentile and the BCa interval (Efron, 1987) over units."""
    kinds, frequencies = np.unique(totals, axis=0, return_counts=True)
    drawn = value(draw.multinomial(len(totals), frequencies / len(totals), _RESAMPLES) @ kinds)
    together = totals.sum(axis=0)
    estimate, without = value(together), value(together - totals)
    apart = without.mean() - without
    below = (drawn < estimate - 1e-12).mean() + (abs(drawn - estimate) <= 1e-12).mean() / 2
    bias = stats.norm.ppf(np.clip(below, 1e-4, 1 - 1e-4))
    spread = (apart**2).sum() ** 1.5
    acceleration = (apart**3).sum() / (6 * spread) if spread > 1e-20 else 0.0
    normal = bias + stats.norm.ppf([0.025, 0.975])
    adjusted = stats.norm.cdf(bias + normal / (1 - acceleration * normal))
    return {
        "percentile": tuple(np.quantile(drawn, [0.025, 0.975])),
        "BCa": tuple(np.quantile(drawn, adjusted)),
    }


def students_t(value, errors):
    half = stats.t.ppf(0.975, len(errors) - 1) * np.linalg.norm(errors)
    return value - half, value + half


def of_a_metric(
    world, accuracy, units, repeats=REPEATS, bootstrapped=BOOTSTRAPPED
) -> dict[str, tuple[float, float]]:
    """Coverage and mean width, as a share of the largest possible value, by kind of interval."""
    make, metric = WORLDS[world]
    draw = np.random.default_rng([units, int(1000 * accuracy)])
    truth = metric.value(make(accuracy, 200_000, draw).sum(axis=0))
    intervals: dict[str, list[tuple[float, float]]] = {}
    for turn in range(repeats):
        totals = make(accuracy, units, draw)
        highest = metric.highest(totals.sum(axis=0))
        ours = Estimate.of(totals, metric.value, highest)
        found = {"ours": ours.interval()}
        found["Student's t"] = students_t(ours.value, highest * ours.errors)
        if turn < bootstrapped:
            found |= bootstraps(totals, metric.value, draw)
        for name, interval in found.items():
            intervals.setdefault(name, []).append(interval)
    return summary(intervals, truth, highest)


def of_a_difference(
    change, units, repeats=REPEATS, bootstrapped=BOOTSTRAPPED
) -> dict[str, tuple[float, float]]:
    """The same for the difference of two methods."""
    lost, won = CHANGES[change]
    draw = np.random.default_rng([units, int(1000 * lost), int(1000 * won)])
    value = MeanScore().value
    intervals: dict[str, list[tuple[float, float]]] = {}
    for turn in range(repeats):
        totals = pairs(lost, won, units, draw)
        first, second = Estimate.of(totals[:, :2], value), Estimate.of(totals[:, 2:], value)
        found = {"ours": difference_interval(first, second)}
        found["Student's t"] = students_t(first.value - second.value, first.errors - second.errors)
        if turn < bootstrapped:
            found |= bootstraps(totals, lambda sums: value(sums[..., :2]) - value(sums[..., 2:]), draw)
        for name, interval in found.items():
            intervals.setdefault(name, []).append(interval)
    return summary(intervals, won - lost, 1)


def summary(intervals, truth, highest):
    found = {}
    for name, own in intervals.items():
        low, high = np.transpose(own)
        found[name] = (
            float(((low - 1e-9 <= truth) & (truth <= high + 1e-9)).mean()),
            float(np.nanmean(high - low) / highest) if np.isfinite(high - low).any() else np.nan,
        )
    return found


def rows() -> Iterator[dict[str, object]]:
    for world in WORLDS:
        for accuracy in ACCURACIES:
            for units in UNITS if world != "MME" else UNITS[2:]:  # a subtask needs an image
                found = of_a_metric(world, accuracy, units)
                yield from named(found, quantity=world, accuracy=accuracy, units=units)
    for change in CHANGES:
        for units in UNITS:
            yield from named(of_a_difference(change, units), quantity=f"difference: {change}", units=units)


def named(found, **keys):
    for name, (coverage, width) in found.items():
        yield keys | {"interval": name, "coverage": round(coverage, 3), "width": round(width, 3)}


if __name__ == "__main__":
    pd.DataFrame(rows()).to_csv(Path(sys.argv[1]), index=False)

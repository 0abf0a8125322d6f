"""A pruned run against the unpruned one on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from script_exp.benchmarks.metric import Metric, Scored
from script_exp.measure.interval import bootstrap_interval


@dataclass(frozen=True)
class Comparison:
    """Paired comparison on the samples that both runs answered.

    Attributes:
        difference: pruned minus unpruned, in the metric's own unit.
        interval: its 95 % interval (paired bootstrap over units).
        lost: answers with a lower score than without pruning.
        won: answers with a higher score.
    """

    difference: float
    interval: tuple[float, float]
    lost: int
    won: int


def compare(metric: Metric, pruned: pd.DataFrame, unpruned: pd.DataFrame) -> Comparison:
    """Compare two runs' samples, as :func:`script_exp.results.read.load_samples` gives them.

    Raises:
        ValueError: if the runs have not answered the same samples.
    """
    if set(pruned.index) != set(unpruned.index):
        raise ValueError("the two runs have not answered the same samples")
    before = unpruned.reindex(pruned.index)
    totals = [metric.by_unit(cast(list[Scored], list(frame.itertuples()))) for frame in (pruned, before)]
    sums = totals[0].shape[1]

    def difference(both: np.ndarray) -> np.ndarray:
        change: np.ndarray = metric.value(both[..., :sums]) - metric.value(both[..., sums:])
        return change

    paired = np.concatenate(totals, axis=1)
    flips = pruned["score"] - before["score"]
    return Comparison(
        difference=float(difference(paired.sum(axis=0))),
        interval=bootstrap_interval(paired, difference),
        lost=int((flips < 0).sum()),
        won=int((flips > 0).sum()),
    )

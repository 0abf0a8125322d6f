"""A pruned run against the unpruned one on the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from script_exp.measure.interval import bootstrap_interval


@dataclass(frozen=True)
class Comparison:
    """Paired comparison on the samples that both runs answered.

    Attributes:
        difference: pruned minus unpruned accuracy, with its 95 % interval (paired bootstrap over units).
        lost: answers that were right without pruning and are wrong with it.
        won: answers that were wrong without pruning and are right with it.
    """

    difference: float
    interval: tuple[float, float]
    lost: int
    won: int


def compare(pruned: pd.DataFrame, unpruned: pd.DataFrame) -> Comparison:
    """Compare two runs' samples, as :func:`script_exp.results.read.load_samples` gives them.

    Raises:
        ValueError: if the runs have not answered the same samples.
    """
    if set(pruned.index) != set(unpruned.index):
        raise ValueError("the two runs have not answered the same samples")
    before = unpruned["score"].reindex(pruned.index)
    after = pruned["score"]
    difference = after - before
    return Comparison(
        difference=float(difference.mean()),
        interval=bootstrap_interval(difference.tolist(), pruned["unit"].tolist()),
        lost=int((difference < 0).sum()),
        won=int((difference > 0).sum()),
    )

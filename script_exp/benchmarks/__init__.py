"""One file per benchmark: its samples, its prompt and its scoring rule."""

from __future__ import annotations

from script_exp.benchmarks.mlvu import MlvuAverage
from script_exp.benchmarks.mmbench import CircularAccuracy
from script_exp.benchmarks.mme import Perception
from script_exp.benchmarks.mmvet import MmVetScore
from script_exp.benchmarks.mvbench import MvbenchAverage
from script_exp.benchmarks.pope import MeanF1, PooledF1
from script_exp.benchmarks.rules.metric import MeanScore, Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        MeanScore(),
        MeanF1(),
        PooledF1(),
        Perception(),
        CircularAccuracy(),
        MmVetScore(),
        MvbenchAverage(),
        MlvuAverage(),
    )
}
"""Metrics by the name that ``result.json`` gives them."""

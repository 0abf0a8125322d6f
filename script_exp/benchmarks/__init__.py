"""One file per benchmark: where its samples are, its prompt, its scoring rule."""

from __future__ import annotations

from script_exp.benchmarks.metric import MeanScore, Metric

METRICS: dict[str, Metric] = {metric.name: metric for metric in (MeanScore(),)}
"""Metrics by the name that ``result.json`` gives them."""

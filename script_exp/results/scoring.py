"""Turn raw predictions into the official number and the submission file, for new and for old runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.rules.metric import Metric
from script_exp.measure.interval import metric_interval
from script_exp.results.record import Accuracy, SampleRecord


def score_again(
    benchmark: Benchmark, samples: Iterable[Sample], records: Mapping[str, SampleRecord]
) -> dict[str, SampleRecord]:
    """Return the records with answers and scores by the benchmark's current rule, in the same order.

    Args:
        benchmark: the benchmark with the rule.
        samples: at least the answered ones.
        records: records by sample id.
    """
    by_id = {sample.id: sample for sample in samples}
    return {name: rescored(benchmark, by_id[name], record) for name, record in records.items()}


def summarize_accuracy(
    metric: Metric, records: Sequence[SampleRecord], limited: bool, skipped: int
) -> Accuracy:
    """Return the official number with its interval, and the numbers by kind."""
    totals = metric.by_unit(records)
    return Accuracy(
        metric=metric.name,
        scale=metric.scale,
        value=metric.of(records),
        n=len(records),
        ci95=metric_interval(totals, metric.value, metric.highest(totals.sum(axis=0))),
        by_kind=metric.by_kind(records),
        partial=limited or skipped > 0,
        skipped=skipped,
    )


def outcome(
    benchmark: Benchmark, records: Sequence[SampleRecord], limited: bool, skipped: int
) -> tuple[Accuracy | None, tuple[str, str | bytes] | None]:
    """Return the accuracy, None if a server scores, and the submission file's name and contents, if any.

    Args:
        benchmark: the benchmark with the rule.
        records: records in the benchmark's order.
        limited: whether ``limit`` was set.
        skipped: number of skipped samples.
    """
    accuracy = (
        summarize_accuracy(benchmark.metric, records, limited, skipped) if benchmark.is_scored else None
    )
    return accuracy, benchmark.submission(records)


def rescored(benchmark: Benchmark, sample: Sample, record: SampleRecord) -> SampleRecord:
    """Return the record with its prediction parsed and scored by the benchmark's current rule."""
    answer = benchmark.parse(sample, record.prediction)
    return replace(
        record,
        kind=sample.kind,
        unit=sample.unit,
        answer=answer,
        score=benchmark.score(sample, answer),
        rule=benchmark.rule_version,
    )

"""From raw predictions to the official number and the file for the server, for new runs and for old ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.rules.metric import Metric
from script_exp.measure.interval import bootstrap_interval
from script_exp.results.record import Accuracy, SampleRecord


def score_again(
    benchmark: Benchmark, samples: Iterable[Sample], records: Mapping[str, SampleRecord]
) -> dict[str, SampleRecord]:
    """The records with what the benchmark makes of their predictions now, in their own order.

    Args:
        benchmark: whose rule counts.
        samples: at least those that were answered.
        records: by sample id.
    """
    by_id = {sample.id: sample for sample in samples}
    return {name: _scored(benchmark, by_id[name], record) for name, record in records.items()}


def summarize_accuracy(
    metric: Metric, records: Sequence[SampleRecord], limited: bool, skipped: int
) -> Accuracy:
    """The official number with its interval, overall and by kind."""
    return Accuracy(
        metric=metric.name,
        scale=metric.scale,
        value=metric.of(records),
        n=len(records),
        ci95=bootstrap_interval(metric.by_unit(records), metric.value),
        by_kind=metric.by_kind(records),
        partial=limited or skipped > 0,
        skipped=skipped,
    )


def outcome(
    benchmark: Benchmark, records: Sequence[SampleRecord], limited: bool, skipped: int
) -> tuple[Accuracy | None, tuple[str, str | bytes] | None]:
    """Accuracy, or None where a server scores, and the name and contents of the file for the server, if any.

    Args:
        benchmark: whose rule counts.
        records: in the benchmark's order.
        limited: whether ``limit`` was set.
        skipped: number of samples that were left out.
    """
    accuracy = (
        summarize_accuracy(benchmark.metric, records, limited, skipped) if benchmark.is_scored else None
    )
    return accuracy, benchmark.submission(records)


def _scored(benchmark: Benchmark, sample: Sample, record: SampleRecord) -> SampleRecord:
    answer = benchmark.parse(sample, record.prediction)
    return replace(
        record,
        kind=sample.kind,
        unit=sample.unit,
        answer=answer,
        score=benchmark.score(sample, answer),
        rule=benchmark.rule_version,
    )

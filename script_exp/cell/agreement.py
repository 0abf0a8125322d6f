"""Compare stored answers with the benchmark and its rule: scores can be computed again from predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.errors import UserError
from script_exp.results.record import SampleRecord
from script_exp.results.run_directory import RunDirectory
from script_exp.results.scoring import rescored
from script_exp.results.summarize import summarize_tokens


def disagreement(
    benchmark: Benchmark, sample: Sample, record: SampleRecord, *, with_score: bool = True
) -> str | None:
    """Return how a stored answer differs from its sample and the benchmark's rule; None if it does not.

    Args:
        benchmark: the benchmark as it is now.
        sample: the sample.
        record: its answer.
        with_score: whether to compute the answer and the score again from the prediction.
    """
    if (record.question, record.references) != (sample.question, list(sample.references)):
        return f"sample {sample.id} had another question or other references"
    if not with_score or record.rule != benchmark.rule_version:
        return None
    again = rescored(benchmark, sample, record)
    for name in ("kind", "unit", "answer", "score"):
        had, has = getattr(record, name), getattr(again, name)
        if had != has:
            return f"sample {sample.id} has {name}={had!r}, but its prediction gives {has!r}"
    return None


def without_disagreeing(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    records: Mapping[str, SampleRecord],
    prompt_hash: Callable[[Sample], str],
) -> tuple[dict[str, SampleRecord], list[str]]:
    """Return the answers of an unfinished run that can be kept, and a sentence for each of the others.

    Args:
        benchmark: the benchmark.
        samples: at least the answered samples.
        records: the answers by sample id.
        prompt_hash: what ``prompt_hash`` of a sample's answer has to be.
    """
    by_id = {sample.id: sample for sample in samples}
    kept, problems = {}, []
    for name, record in records.items():
        problem = disagreement(benchmark, by_id[name], record)
        if problem is None and record.prompt_hash != prompt_hash(by_id[name]):
            problem = f"sample {name} was asked with another prompt"
        if problem is None:
            kept[name] = record
        else:
            problems.append(problem)
    return kept, problems


def check_agrees(
    benchmark: Benchmark, samples: Sequence[Sample], directory: RunDirectory, result: Mapping[str, Any]
) -> None:
    """Raise a :class:`UserError` if a finished run's answers, scores and result do not agree.

    Scores of an earlier rule, or of a rule with other settings, such as a judge, are not computed again.
    """
    if result["provenance"][-1]["weights"] == "random":  # answers nothing
        return
    records = directory.all_records([sample.id for sample in samples])
    by_id = {sample.id: sample for sample in samples}
    ordered = [records[sample.id] for sample in samples if sample.id in records]
    graded = any(entry.get("settings") for entry in result["rescored"]) if "rescored" in result else False
    same_rule = result.get("rule_version", 1) == benchmark.rule_version and not graded
    for record in ordered:
        problem = disagreement(benchmark, by_id[record.id], record, with_score=same_rule)
        if problem is not None:
            raise UserError(
                f"{directory.samples_file}: {problem}; python runners/score.py {directory.path} computes the "
                "scores again, force=true starts over"
            )
    for problem in _differing(benchmark, ordered, result, with_accuracy=same_rule):
        raise UserError(
            f"{directory.result_file} does not agree with the answers beside it ({problem}); "
            f"python runners/score.py {directory.path} computes the scores again, force=true starts over"
        )


def _differing(
    benchmark: Benchmark, records: Sequence[SampleRecord], result: Mapping[str, Any], *, with_accuracy: bool
) -> Iterator[str]:
    again = asdict(summarize_tokens(records, result["cell"]["budget"]))
    yield from _unequal("tokens", result["tokens"], again)
    if not with_accuracy:
        return
    if (result["accuracy"] is not None) != benchmark.is_scored:
        yield f"accuracy={result['accuracy']}"
    elif result["accuracy"] is not None:
        metric = benchmark.metric
        now = {"metric": metric.name, "scale": metric.scale, "value": metric.of(records), "n": len(records)}
        yield from _unequal("accuracy", result["accuracy"], now)
        yield from _unequal("accuracy.by_kind", result["accuracy"]["by_kind"], metric.by_kind(records))


def _unequal(place: str, stored: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for name, value in again.items():
        had = stored.get(name)
        both = isinstance(had, int | float) and isinstance(value, int | float)
        if not (math.isclose(had, value, rel_tol=1e-9, abs_tol=1e-12) if both else had == value):  # type: ignore[arg-type]
            yield f"{place}.{name}={had}, but {value} by the answers"

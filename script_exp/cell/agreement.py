"""Compare stored answers with the benchmark, its rule and the model; most of them is computed again."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.cell.answer import prompt_hash
from script_exp.errors import SettingError, UserError
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import LayerPruner, Pruner
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
    prompt_problem: Callable[[Sample, SampleRecord], str | None],
) -> tuple[dict[str, SampleRecord], list[str]]:
    """Return the answers of an unfinished run that can be kept, and a sentence for each of the others.

    Args:
        benchmark: the benchmark.
        samples: at least the answered samples.
        records: the answers by sample id.
        prompt_problem: returns what is wrong with the prompt of an answer; None if nothing is.
    """
    by_id = {sample.id: sample for sample in samples}
    kept, problems = {}, []
    for name, record in records.items():
        problem = disagreement(benchmark, by_id[name], record)
        problem = problem or prompt_problem(by_id[name], record)
        if problem is None:
            kept[name] = record
        else:
            problems.append(problem)
    for unit in _of_several_sizes(kept.values()):
        problems.append(f"the samples of {unit} have different sizes of the same {benchmark.modality}")
        kept = {name: record for name, record in kept.items() if record.unit != unit}
    return kept, problems


def _of_several_sizes(records: Iterable[SampleRecord]) -> list[str]:
    """Return the units whose samples do not have the same numbers of visual tokens, crops and patches."""
    sizes = defaultdict(set)
    for one in records:
        sizes[one.unit].add((one.visual, one.offered, one.crops, one.budget_crops, str(one.grids)))
    return [unit for unit, found in sizes.items() if len(found) > 1]


def prompt_problem(
    model: PrunableModel, pruner: Pruner | LayerPruner, sample: Sample, record: SampleRecord
) -> str | None:
    """Return how a stored answer differs from what the model would be asked now; None if it does not.

    Token counts are compared as far as they follow from the texts, the budget and each other: images are not
    loaded.
    """
    prompt = model.chat_prompt(sample.prompt, sample.images)
    if record.prompt_hash != prompt_hash(prompt):
        return f"sample {sample.id} was asked with another prompt"
    fewest = pruner.fewest if isinstance(pruner, LayerPruner) else 1
    too_few = min(record.crops, record.budget_crops, record.batch) < 1 or record.kept < fewest
    if too_few or record.separators < 0:
        return f"sample {sample.id} has impossible token counts"
    if not record.kept <= record.visual <= record.offered:
        return (
            f"sample {sample.id} keeps {record.kept} of {record.visual} visual tokens, of {record.offered} "
            "to choose from"
        )
    chosen = record.kept if record.kept_by_crop is None else sum(record.kept_by_crop)
    cut_off = 0 if isinstance(pruner, LayerPruner) else record.offered - record.visual
    if not record.kept <= chosen <= record.kept + cut_off:
        return f"sample {sample.id} keeps {record.kept} tokens, but {record.kept_by_crop} of its crops"
    try:
        counts = _expected_counts(model, pruner, sample, prompt, record)
    except SettingError as error:  # no image of this size could be pruned so
        return f"sample {sample.id} has impossible token counts ({error})"
    for name, expected in counts.items():
        had = getattr(record, name)
        if not math.isclose(had, expected, rel_tol=1e-9):
            return f"sample {sample.id} has {name}={had}, but {expected} by its prompt and the budget"
    return None


def _expected_counts(
    model: PrunableModel, pruner: Pruner | LayerPruner, sample: Sample, prompt: str, record: SampleRecord
) -> dict[str, float]:
    adapter = model.adapter
    expected: dict[str, float] = {
        "query": model.query_tokens(sample.query) if pruner.needs_query else 0,
    }
    if not adapter.adds_words:
        ids = model.processing.words([prompt], [[model.processing.placeholder]])["input_ids"]
        expected["text"] = int((ids != adapter.placeholder_id).sum())
    tokens = adapter.tokens_per_crop(model.model.config)
    if tokens is not None and not adapter.variable_size:
        expected["offered"] = record.budget_crops * tokens
        if isinstance(pruner, Pruner) and record.visual == record.offered:
            most = pruner.total_of(record.budget_crops, tokens)
            expected["kept"] = min(record.kept, most) if pruner.adaptive else most
    if isinstance(pruner, LayerPruner):
        entering = record.by_layer[0] if record.by_layer else record.visual
        by_layer = model.visual_by_layer(pruner, record.visual, entering, record.budget_crops)
        return expected | {"kept": by_layer[-1], "layer_average": sum(by_layer) / len(by_layer)}
    return expected | {"layer_average": record.kept}


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

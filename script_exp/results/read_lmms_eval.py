"""Read results of lmms-eval (``--log_samples --output_path FOLDER``) into the same table as our runs.

A task becomes the benchmark ``lmms-TASK``, as when one of our runs asks it
(:mod:`script_exp.benchmarks.lmms`). The number is the mean score of the first metric that scores all answers.
Tokens, FLOPs, times and the device's name are missing; so are samples in our form, which paired tests need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from script_exp.benchmarks.rules.metric import MeanScore, Scored
from script_exp.errors import UserError
from script_exp.measure.interval import metric_interval
from script_exp.results.files import parse_json, read_bytes, read_json
from script_exp.results.read import Runs, collect_rows
from script_exp.results.record import Accuracy
from script_exp.results.run_identity import identity_hash

_RESULTS, _SAMPLES = "_results.json", "_samples_"
_OF_PRUNER = ("pruner", "budget", "seed", "question")
_HARMLESS = ("batch_size", "feature_cache_gib", "device", "device_map")


def load_lmms_eval(folder: Path) -> Runs:
    """Read every result below a folder.

    Raises:
        UserError: if there is none.
    """
    files = sorted(folder.rglob(f"*{_RESULTS}"))
    if not files:
        raise UserError(
            f"--lmms={folder}: no *{_RESULTS}; expected what lmms-eval wrote to its --output_path, "
            "with --log_samples"
        )
    return collect_rows(
        (str(place), partial(_row, file, place)) for file in files for place in _samples(file)
    )


def _samples(file: Path) -> Iterator[Path]:
    """Yield the files of samples that belong to a file of results; at least a missing one."""
    prefix = file.name.removesuffix(_RESULTS) + _SAMPLES
    yield from sorted(file.parent.glob(f"{prefix}*.jsonl")) or [file.with_name(f"{prefix}TASK.jsonl")]


def _row(file: Path, place: Path) -> dict[str, Any]:
    results = read_json(file)
    config = results["config"]
    task = place.stem.partition(_SAMPLES)[2]
    arguments = _arguments(config["model_args"])
    name, scores = _scores(place)
    own = {key: value for key, value in arguments.items() if _is_of_pruner(key)}
    rest = {key: value for key, value in arguments.items() if key not in own and key not in _HARMLESS}
    asked = {
        "harness": "lmms-eval",
        "protocol": "lmms",
        "protocol_version": _release(results),
        "score_of": name,
    }
    common = [config["model"], rest, task, asked, config.get("limit"), config.get("gen_kwargs")]
    pruner = str(own.pop("pruner", "none"))
    budget, seed = own.pop("budget", None), own.pop("seed", 0)
    is_pruned = pruner != "none"
    checkpoint = str(rest.get("pretrained", config["model"]))
    accuracy = _accuracy(scores, config.get("limit"))
    packages = {"lmms_eval": _release(results)}
    provenance = {"checkpoint": checkpoint, "weights": "pretrained", "packages": packages, "config": config}
    return {
        "model": str(rest.get("model", Path(checkpoint).name)),
        "checkpoint": checkpoint,
        "weights": "pretrained",
        "benchmark": f"lmms-{task}",
        "benchmark_settings": json.dumps(asked, sort_keys=True),
        "limit": None if config.get("limit") in (None, -1) else int(config["limit"]),
        "pruner": pruner,
        "variant": ", ".join(f"{key.removeprefix('pruner.')}={value}" for key, value in sorted(own.items())),
        "pruner_settings": json.dumps({"seed": seed} if "seed" in arguments else {}),
        "budget": budget if is_pruned else None,
        "seed": seed if is_pruned else 0,
        "identity": identity_hash({"all": [*common, pruner, budget, seed, own] if is_pruned else common}),
        "unpruned_identity": identity_hash({"all": common}),
        "metric": accuracy.metric,
        "scale": accuracy.scale,
        "accuracy": accuracy.value,
        "ci_low": None if accuracy.ci95 is None else accuracy.ci95[0],
        "ci_high": None if accuracy.ci95 is None else accuracy.ci95[1],
        **{key: asdict(accuracy)[key] for key in ("n", "partial", "skipped")},
        "device_type": str(config.get("device") or "unknown").partition(":")[0],
        "dtype": str(rest.get("dtype", "auto")),
        "attention": str(rest.get("attention", rest.get("attn_implementation", ""))) or None,
        "compile": "off",
        "dirty": False,
        "finished": str(results.get("date", "")),
        "provenance": json.dumps([provenance], default=str),
        "rescored": 0,
        "place": str(place),
    }


def _is_of_pruner(key: str) -> bool:
    return key in _OF_PRUNER or key.startswith("pruner.")


def _release(results: dict[str, Any]) -> str:
    return str(results.get("lmms_eval_version") or "unknown")


def _arguments(text: str | dict[str, Any]) -> dict[str, Any]:
    """Return ``--model_args`` as lmms-eval recorded them; numbers become numbers."""
    if isinstance(text, dict):
        return text
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {key: _number(value) for key, _, value in pairs}


def _number(value: str) -> Any:
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() and "." not in value else number


def _scores(place: Path) -> tuple[str, list[float]]:
    """Return the first metric that scores every answer, and its scores in the order of the documents.

    Raises:
        UserError: if there is no such file, or no such metric.
    """
    try:
        lines = [parse_json(line) for line in read_bytes(place).split(b"\n") if line]
    except FileNotFoundError as error:
        raise UserError(f"{place} is missing: expected results with --log_samples") from error
    lines.sort(key=lambda line: line["doc_id"])
    for name in lines[0] if lines else ():
        scores = [_score(line.get(name)) for line in lines] if name not in _NO_METRICS else [None]
        whole = [score for score in scores if score is not None and 0 <= score <= 1]
        if len(whole) == len(lines):
            return name, whole
    raise UserError(f"{place}: no metric scores every answer from 0 to 1")


_NO_METRICS = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_counts", "doc_hash")


def _score(value: Any) -> float | None:
    value = value.get("score") if isinstance(value, dict) else value
    return float(value) if isinstance(value, int | float) else None


class _Answer:
    """An answer as a metric takes it; each is a unit of its own."""

    def __init__(self, number: int, score: float) -> None:
        self.kind, self.unit, self.answer, self.score = "all", str(number), "", score
        self.references: Sequence[str] = ()


def _accuracy(scores: Iterable[float], limit: Any) -> Accuracy:
    answers: list[Scored] = [_Answer(number, score) for number, score in enumerate(scores)]
    metric = MeanScore()
    interval = metric_interval(metric.by_unit(answers), metric.value)
    value, n = metric.of(answers), len(answers)
    return Accuracy(metric.name, metric.scale, value, n, interval, {}, partial=limit not in (None, -1))

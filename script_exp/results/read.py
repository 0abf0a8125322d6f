"""Read all finished runs in a folder into one tidy table with typed columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from script_exp.errors import LARGEST, UserError
from script_exp.results.record_file import read_lines
from script_exp.results.result_file import check_measured, read_own_result
from script_exp.results.run_directory import REPLACED, SHARDS, result_files
from script_exp.results.state import read_state

STAGES = ("preprocess", "vision", "query_encoder", "pruner", "llm")
"""The stages up to the first token, in the order in which they run."""

_TEXT, _NUMBER, _COUNT, _FLAG = "string", "float64", "Int64", "bool"
_WORDS = {_TEXT: "text", _NUMBER: "a number", _COUNT: "a whole number", _FLAG: "true or false"}

COLUMNS: dict[str, tuple[str, str]] = {
    "model": (_TEXT, "name of the model, as in conf/model"),
    "checkpoint": (_TEXT, "its folder or hub id; ``embedded`` and the like are built in"),
    "weights": (_TEXT, "``pretrained``, or ``random``, which has no accuracy"),
    "benchmark": (_TEXT, "name of the benchmark, as in conf/benchmark"),
    "benchmark_settings": (_TEXT, "JSON of the settings that can change its number, such as protocol"),
    "prompt_version": (_COUNT, "version of its prompt"),
    "protocol_version": (_COUNT, "version of everything else in the code that can change a result"),
    "limit": (_COUNT, "number of requested samples; missing: all"),
    "pruner": (_TEXT, "method, as in conf/pruner"),
    "variant": (_TEXT, "its settings that differ from the published defaults"),
    "pruner_settings": (_TEXT, "JSON of all its settings except the budget"),
    "budget": (_NUMBER, "tokens kept per crop, or a share below 1; missing: unpruned"),
    "seed": (_COUNT, "seed of a method that draws, otherwise 0"),
    "query_text": (_TEXT, "``bare`` or ``released``; missing: does not ask, or older than the choice"),
    "identity": (_TEXT, "hash of every setting that can change the result"),
    "unpruned_identity": (_TEXT, "identity of the unpruned run to compare with"),
    "metric": (_TEXT, "name of the metric; missing: random weights, or a server scores"),
    "scale": (_NUMBER, "100: the accuracy is a share, printed in percent; 1: it counts points"),
    "accuracy": (_NUMBER, "the benchmark's official number"),
    "ci_low": (_NUMBER, "lower end of its 95 % interval"),
    "ci_high": (_NUMBER, "upper end of its 95 % interval"),
    "n": (_COUNT, "number of scored samples"),
    "partial": (_FLAG, "whether the benchmark has more samples"),
    "skipped": (_COUNT, "number of samples with missing or broken images, and of bad entries"),
    "visual": (_NUMBER, "visual tokens before pruning; this and the following are means over samples"),
    "kept": (_NUMBER, "visual tokens that remain after all pruning"),
    "layer_average": (_NUMBER, "visual tokens, mean over the LLM's layers"),
    "budget_crops": (_NUMBER, "crops that the budget was multiplied by"),
    "offered": (_NUMBER, "visual tokens to choose from, including those cut off as padding"),
    "prefill_tflops": (_NUMBER, "FLOPs of all stages of a prefill, 2 per multiply-accumulate, in 1e12"),
    "llm_visual_tflops": (_NUMBER, "of these, those of the LLM on visual tokens alone"),
    "kv_mib": (_NUMBER, "KV cache after prefill, MiB"),
    "llm_prefill_ms": (_NUMBER, "pruner and LLM up to the first token, median at batch 1, ms"),
    "ttft_ms": (_NUMBER, "time to first token, all stages, median at batch 1, ms"),
    "unpruned_llm_prefill_ms": (_NUMBER, "the same for the unpruned model, measured in the same process"),
    "unpruned_ttft_ms": (_NUMBER, "the same for the unpruned model, measured in the same process"),
    "prefill_speedup": (_NUMBER, "ratio of the two LLM prefills"),
    "ttft_speedup": (_NUMBER, "ratio of the two times to first token"),
    **{f"{stage}_ms": (_NUMBER, f"median time of stage {stage}, ms") for stage in STAGES},
    "decode_ms": (_NUMBER, "median time of one more token, ms"),
    "peak_mib": (_NUMBER, "peak memory of an LLM prefill, MiB"),
    "device": (_TEXT, "name of the GPU or processor of the measurement"),
    "device_type": (_TEXT, "``cuda`` or ``cpu``"),
    "dtype": (_TEXT, "dtype of the weights"),
    "attention": (_TEXT, "attention kernel"),
    "compile": (_TEXT, "mode of ``torch.compile``, or ``off``"),
    "quantization": (_TEXT, "``int8``, ``int4``, what the checkpoint is quantized by, or ``off``"),
    "commit": (_TEXT, "git commit of the code; missing: not in a checkout"),
    "dirty": (_FLAG, "whether the code differed from the commit"),
    "finished": (_TEXT, "when the last process that worked on it started, UTC"),
    "provenance": (_TEXT, "JSON: code, versions and machine of every process that worked on it"),
    "rescored": (_COUNT, "how often runners/score.py changed its scores"),
    "place": (_TEXT, "the run directory, or the W&B run"),
    "run_dir": (_TEXT, "the run directory with the samples; missing: read from W&B"),
}  # fmt: skip
"""Columns of the table of runs: type and meaning. Values that were not measured are missing, not zero."""


class CopiedAlone(UserError):
    """A result was copied without its samples, as those in ``results/``."""


@dataclass(frozen=True)
class Runs:
    """Finished runs, and the problems of all others.

    Attributes:
        frame: one row per run, with the columns of :data:`COLUMNS`; empty if there is none.
        problems: one sentence per run that is left out.
    """

    frame: pd.DataFrame
    problems: list[str] = field(default_factory=list)


def load_runs(outputs: Path) -> Runs:
    """Read every ``result.json`` below ``outputs``; unfinished and failed runs become problems."""
    files = result_files(outputs)
    runs = collect((str(path.parent), partial(_read, path), path.parent) for path in files)
    finished = {path.parent for path in files}
    return Runs(runs.frame, [*runs.problems, *_unfinished(outputs, finished)])


def collect(sources: Iterable[tuple[str, Callable[[], dict[str, Any]], Path | None]]) -> Runs:
    """Collect results from any source into the table of runs.

    Args:
        sources: for each run, the name of its place, a function that reads its ``result.json``, and the run
            directory, if any.
    """
    return collect_rows((place, partial(_row_of, read, place, run_dir)) for place, read, run_dir in sources)


def collect_rows(sources: Iterable[tuple[str, Callable[[], dict[str, Any]]]]) -> Runs:
    """Collect rows from any source into the table of runs; a column that a row lacks is missing.

    Args:
        sources: for each run, the name of its place, and a function that returns its row.
    """
    rows, problems = [], []
    for place, row in sources:
        try:
            rows.append(_typed(row()))
        except UserError as error:
            problems.append(str(error))
        except (
            KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError
        ) as error:  # fmt: skip
            problems.append(f"the result of {place} is damaged ({type(error).__name__}: {error})")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return Runs(frame.astype({name: kind for name, (kind, _) in COLUMNS.items()}), problems)


def draws(runs: pd.DataFrame) -> pd.Series:
    """Return for each run or cell whether its method draws at random, that is, has a setting ``seed``."""
    names = (json.loads(settings) for settings in runs["pruner_settings"])
    has = [any(name.rpartition(".")[2] == "seed" for name in settings) for settings in names]
    return pd.Series(has, index=runs.index, dtype=bool)


def load_samples(run_dir: Path) -> pd.DataFrame:
    """Read the samples of one run, one row each, indexed by id.

    Raises:
        CopiedAlone: if the file is missing, and the rest of the run as well.
        UserError: if it is missing or a line is damaged.
    """
    file = run_dir / "samples.jsonl"
    remedy = f"remove {run_dir} to run this cell again"
    try:
        samples = pd.DataFrame([values for _, values in read_lines(file, remedy)])
    except FileNotFoundError as error:
        missing = f"{file} cannot be read: it is missing"
        if not (run_dir / "config.yaml").exists():
            raise CopiedAlone(f"{missing}; the result was copied without its run") from error
        raise UserError(f"{missing}; {remedy}") from error
    except UserError as error:
        raise UserError(f"{file} cannot be read: {str(error).removeprefix(f'{file}, ')}") from error
    if "id" not in samples or samples["id"].isna().any() or samples["id"].duplicated().any():
        raise UserError(f"{file} cannot be read: not every line has an id of its own; {remedy}")
    return samples.set_index("id")


def _read(path: Path) -> dict[str, Any]:
    try:
        result = read_own_result(path)
    except FileNotFoundError as error:  # it was removed just now
        raise UserError(f"{path} is missing") from error
    check_measured(result, path)
    return result


def _unfinished(outputs: Path, finished: set[Path]) -> Iterator[str]:
    for path in sorted(outputs.rglob("status.json")):
        if path.parent in finished or {REPLACED, SHARDS} & {*path.relative_to(outputs).parts}:
            continue
        state = read_state(path.parent)
        if state is not None:
            why = f": {state.why}" if state.why else ""
            yield f"{path.parent} has no result: {state.state}{why}"


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """Check that every value fits its column's type, so that a wrong value affects only its own run."""
    kinds = {_TEXT: str, _NUMBER: int | float, _COUNT: int, _FLAG: bool}
    for name, (kind, _) in COLUMNS.items():
        value = row.get(name)
        wrong = not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != _FLAG)
        if value is not None and (wrong or (kind == _COUNT and abs(value) > LARGEST)):
            raise ValueError(f"{name}={value!r}: expected {_WORDS[kind]}")
    return {name: row.get(name) for name in COLUMNS}


def _row_of(read: Callable[[], dict[str, Any]], place: str, run_dir: Path | None) -> dict[str, Any]:
    return _row(read(), place, run_dir)


def _row(result: dict[str, Any], place: str, run_dir: Path | None) -> dict[str, Any]:
    cell, tokens, flops = result["cell"], result["tokens"], result["flops"]
    last = result["provenance"][-1]
    git = last["git"] or {}
    peak = result["peak_memory_bytes"]
    return {
        **cell,
        "pruner_settings": json.dumps(cell["pruner_settings"], sort_keys=True),
        "benchmark_settings": json.dumps(cell["benchmark_settings"], sort_keys=True),
        "identity": result["identity"],
        "unpruned_identity": result["unpruned_identity"],
        "checkpoint": last["checkpoint"],
        "weights": last["weights"],
        **_accuracy(result["accuracy"]),
        "visual": tokens["visual"],
        "kept": tokens["kept"],
        "layer_average": tokens["layer_average"],
        "budget_crops": tokens["budget_crops"],
        "offered": tokens["offered"],
        "prefill_tflops": flops["prefill_total"] / 1e12,
        "llm_visual_tflops": flops["llm_visual_only"] / 1e12,
        "kv_mib": result["kv_cache_bytes"] / 2**20,
        **_latency(result["latency"]),
        "peak_mib": None if peak is None else peak / 2**20,
        "device": last["device"],
        "device_type": "cpu" if last["cuda"] is None else "cuda",
        "dtype": last["dtype"],
        "attention": last["attention"],
        "compile": last.get("compile", "off"),  # older results do not have this key
        "quantization": last.get("quantization", "off"),
        "commit": git.get("commit"),
        "dirty": git.get("dirty", False),
        "finished": last["time"],
        "provenance": json.dumps(result["provenance"]),
        "rescored": len(result.get("rescored", [])),
        "place": place,
        "run_dir": None if run_dir is None else str(run_dir),
    }


def _accuracy(accuracy: dict[str, Any] | None) -> dict[str, Any]:
    """Return the metric's columns; they are empty for random weights, or if a server scores."""
    if accuracy is None:
        return {"n": 0, "partial": False, "skipped": 0}
    low, high = accuracy["ci95"] or (math.nan, math.nan)
    same = ("metric", "scale", "n", "partial", "skipped")
    return {key: accuracy[key] for key in same} | {
        "accuracy": accuracy["value"],
        "ci_low": low,
        "ci_high": high,
    }


def _latency(latency: dict[str, Any] | None) -> dict[str, Any]:
    if latency is None:
        return {}
    medians = {name: spread["median"] for name, spread in latency["stages"].items()}
    return {
        "llm_prefill_ms": latency["llm_prefill_ms"],
        "ttft_ms": latency["ttft_ms"],
        "unpruned_llm_prefill_ms": latency["unpruned"]["llm_prefill_ms"],
        "unpruned_ttft_ms": latency["unpruned"]["ttft_ms"],
        "prefill_speedup": latency["llm_prefill_speedup"],
        "ttft_speedup": latency["ttft_speedup"],
        **{f"{stage}_ms": medians[stage] for stage in STAGES if stage in medians},
        "decode_ms": medians.get("decode_per_token"),
    }

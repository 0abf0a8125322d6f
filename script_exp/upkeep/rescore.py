"""Score finished runs again from their predictions, without a model."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from script_exp.benchmarks.base import Benchmark
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config
from script_exp.config.settings import PLACE_OF_DATA, without_place
from script_exp.errors import SettingError, UserError
from script_exp.results.code_version import code_version
from script_exp.results.files import read_bytes, read_json, write_atomically, write_json
from script_exp.results.run_directory import REMEDY, REPLACED, SHARDS, RunDirectory
from script_exp.results.run_identity import identity_hash
from script_exp.results.scoring import outcome, score_again


@dataclass(frozen=True)
class Rescored:
    """The outcome of scoring a run again.

    Attributes:
        path: the run directory.
        before: the previous ``accuracy`` of ``result.json``; None if there was no score.
        after: the same by the current rule.
        answers: number of parsed answers that changed.
        scores: number of scores that changed.
        changed: whether any file is, or would be, written.
        has_answers: false for random weights, which answer nothing.
    """

    path: Path
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    answers: int = 0
    scores: int = 0
    changed: bool = False
    has_answers: bool = True


@dataclass(frozen=True)
class Overrides:
    """Settings that replace those of a run.

    Attributes:
        data: folder with one folder per benchmark, as in ``conf/config.yaml``; None: unchanged.
        benchmark: settings of the benchmark; only the location of its data and scoring settings can change.
    """

    data: str | None
    benchmark: dict[str, Any]

    @classmethod
    def parse(cls, words: Iterable[str]) -> Overrides:
        """Parse ``data=...`` and ``benchmark.key=...``.

        Raises:
            UserError: for any other key, or a value that is not YAML.
        """
        data, settings = None, []
        for word in words:
            key, _, value = word.partition("=")
            if key == "data" and value:
                data = value
            elif key.startswith("benchmark."):
                settings.append(word)
            else:
                raise SettingError(key, value, "data=FOLDER or benchmark.KEY=VALUE")
        try:
            given = OmegaConf.to_container(OmegaConf.from_dotlist(settings), resolve=True)
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(f"{' '.join(settings)}: {str(error).splitlines()[0]}") from error
        return cls(data, dict(given).get("benchmark", {}))  # type: ignore[arg-type]


def find_runs(places: Sequence[str]) -> list[Path]:
    """Return the run directories at or below the given folders or patterns, each once.

    Shards are not runs, and replaced runs inside a given folder are ignored.

    Raises:
        UserError: if a place has no run.
    """
    found: dict[Path, None] = {}
    for place in places:
        matches = [place] if Path(place).exists() else glob.glob(place, recursive=True)  # noqa: PTH207
        folders = [Path(match) for match in matches]
        runs = [
            file.parent
            for folder in folders
            for name in ("status.json", "result.json")
            for file in folder.rglob(name)
            if not {REPLACED, SHARDS} & {*file.relative_to(folder).parts}
        ]
        if not runs:
            raise UserError(f"{place}: expected a run directory, a folder of runs, or a pattern of either")
        found |= dict.fromkeys(sorted(runs))
    return list(found)


def rescore(path: Path, overrides: Overrides, *, dry_run: bool = False) -> Rescored:
    """Parse and score every prediction of a finished run again, and write what changed.

    Raises:
        UserError: if the run is unfinished, busy or damaged, or its samples or prompts differ from the
            benchmark's current ones; nothing is written then.
    """
    if not (path / "result.json").exists():
        raise UserError("not finished: there is no result.json")
    with RunDirectory(path) as directory:
        result = directory.finished_result() or {}
        if result["provenance"][-1]["weights"] == "random":
            return Rescored(path, None, None, has_answers=False)
        directory.check_samples()
        identified_by = _identified_by(path, result["identity"])
        config = _benchmark_settings(path, identified_by, result, overrides)
        benchmark = build_benchmark(config)
        _check_same_samples(benchmark, identified_by)
        samples = benchmark.samples()[: identified_by["limit"]]
        old = directory.all_records([sample.id for sample in samples])
        skipped = directory.skipped()
        new = score_again(benchmark, samples, old)
        ordered = [new[sample.id] for sample in samples if sample.id in new]
        accuracy, submission = outcome(benchmark, ordered, identified_by["limit"] is not None, len(skipped))
        after = json.loads(json.dumps(asdict(accuracy))) if accuracy else None
        before = result["accuracy"]
        stale_file = submission is not None and not _holds(path / submission[0], submission[1])
        report = Rescored(
            path,
            before,
            after,
            answers=sum(old[name].answer != new[name].answer for name in old),
            scores=sum(old[name].score != new[name].score for name in old),
            changed=old != new or _as_recorded(before) != _as_recorded(after) or stale_file,
        )
        if report.changed and not dry_run:
            if old != new:
                directory.replace_records(new.values())
            if submission is not None and stale_file:
                write_atomically(path / submission[0], submission[1])
            entry = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "code": code_version(),
                "settings": {key: config[key] for key in benchmark.scoring_settings if key in config},
                "answers_changed": report.answers,
                "scores_changed": report.scores,
                "rule_version_before": result.get("rule_version", 1),
                "accuracy_before": before,
            }
            changed = {"accuracy": after, "rule_version": benchmark.rule_version}
            write_json(directory.result_file, result | changed | {"rescored": [*_history(result), entry]})
        return report


def _identified_by(path: Path, identity: str) -> dict[str, Any]:
    """Return the settings whose hash is the run's identity."""
    file = path / "identity.json"
    try:
        identified_by = read_json(file)
    except FileNotFoundError as error:
        raise UserError(
            f"{file} is missing, so the samples and prompts of the run are unknown; {REMEDY}"
        ) from error
    if not isinstance(identified_by, dict) or identity_hash(identified_by) != identity:
        raise UserError(f"{file} does not belong to result.json, whose identity is {identity}; {REMEDY}")
    return identified_by


def _benchmark_settings(
    path: Path, identified_by: Mapping[str, Any], result: Mapping[str, Any], overrides: Overrides
) -> dict[str, Any]:
    """Return the benchmark's settings: the run's, updated by each later scoring, then by ``overrides``."""
    file = path / "config.yaml"
    try:
        recorded = yaml.safe_load(read_bytes(file).decode())["benchmark"]
        of_run = without_place(recorded)
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
        RecursionError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{file} is damaged ({type(error).__name__}: {why}); {REMEDY}") from error
    if of_run != identified_by["benchmark"]:
        raise UserError(f"{file} and {path / 'identity.json'} differ in benchmark; {REMEDY}")
    settings = dict(recorded)
    for entry in _history(result):
        if not isinstance(entry.get("settings"), dict):
            raise UserError(f"{path / 'result.json'} is damaged (rescored without settings); {REMEDY}")
        settings |= entry["settings"]
    if overrides.data is not None and "data" in settings:
        settings["data"] = benchmark_config(settings["name"], overrides.data)["data"]
    return _with(settings, overrides.benchmark)


def _with(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with changes that cannot affect a prediction."""
    try:
        kind = get_class(settings["_target_"])
        if not issubclass(kind, Benchmark):
            raise TypeError(f"{kind.__name__} is not a benchmark")
    except (HydraException, ImportError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"benchmark._target_={settings.get('_target_')}: {error}") from error
    allowed = {*PLACE_OF_DATA, *kind.scoring_settings}
    for key, value in changes.items():
        if key not in allowed:
            free = ", ".join(f"benchmark.{name}" for name in sorted(allowed))
            raise SettingError(f"benchmark.{key}", value, f"one of {free}; a changed prompt needs a new run")
    merged = OmegaConf.merge(OmegaConf.create(settings), OmegaConf.create(dict(changes)))
    return OmegaConf.to_container(merged)  # type: ignore[return-value]


def _check_same_samples(benchmark: Benchmark, identified_by: Mapping[str, Any]) -> None:
    was, now = identified_by["prompt_version"], benchmark.prompt_version
    if was != now:
        raise UserError(f"the run has prompt_version {was}, but {benchmark.name} now has {now}; run it again")
    had, has = identified_by.get("samples"), benchmark.fingerprint()
    if had != has:
        raise UserError(
            f"the samples differ: their fingerprint was {had}, now it is {has}; set data=FOLDER or "
            "benchmark.data=FOLDER to the data of the run"
        )


def _as_recorded(accuracy: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what to compare of an accuracy: everything but the interval."""
    return None if accuracy is None else accuracy | {"ci95": None}


def _history(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(result.get("rescored", []))


def _holds(file: Path, contents: str | bytes) -> bool:
    expected = contents.encode() if isinstance(contents, str) else contents
    return file.is_file() and file.read_bytes() == expected

"""The command that makes a run, from what its ``result.json`` records."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd
import yaml

from script_exp.config.command_line import CONF
from script_exp.config.words import quoted
from script_exp.terminal.called import as_called

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_READ_AS_OTHERS = {"null", "true", "false", "nan", "inf"}  # not as text


def command(run: pd.Series) -> str | None:
    """Return the command that makes a run; None if model, benchmark or method has no config in ``conf/``.

    Settings that ``conf/`` has are left out. A result does not record the batch size, nor a model's prompt
    format, positions and sign of relevance: if they were changed, only the run's ``config.yaml`` says so.

    Args:
        run: a row of the table of runs (:data:`script_exp.results.read.COLUMNS`).
    """
    groups = {group: str(run[group]) for group in ("model", "benchmark", "pruner")}
    if any(name not in _names(group) for group, name in groups.items()):
        return None
    words = [f"{group}={name}" for group, name in groups.items()]
    for place, settings in _settings(run).items():
        conf = _conf(place, groups[place]) if place else _conf("", "config")
        before = f"{place}." if place else ""
        for key, value in settings.items():
            if key == "budget" or not _has(conf, key, value):
                words.append(f"{before}{key}={_word(value)}")
    return as_called(shlex.join(["python", "runners/run.py", *words]))


def _settings(run: pd.Series) -> dict[str, dict[str, Any]]:
    """Return the settings of the run, and of its model, benchmark and pruner, by the group's name."""
    known = {
        key: None if pd.isna(run[key]) else run[key] for key in ("budget", "seed", "limit", "query_text")
    }
    if known["budget"] is None:
        del known["budget"]
    own = {"dtype": run["dtype"], "attention": run["attention"], "device": run["device_type"]}
    own["latency"] = "off" if pd.isna(run["llm_prefill_ms"]) else "on"
    drawn = json.loads(run["pruner_settings"]).items()
    model = {"path": run["checkpoint"], "weights": run["weights"], "compile": run["compile"]}
    own_quantization = run["quantization"] in ("int8", "int4")  # else it is the checkpoint's
    model["quantization"] = run["quantization"] if own_quantization else "off"
    model["placement"] = json.loads(run["provenance"])[-1].get("placement", "one_device")  # new in results
    return {
        "": {key: value for key, value in known.items() if value is not None} | own,
        "model": model,
        "benchmark": json.loads(run["benchmark_settings"]),
        "pruner": {key: value for key, value in drawn if key.rpartition(".")[2] != "seed"},
    }


@cache
def _names(group: str) -> frozenset[str]:
    return frozenset(file.stem for file in (CONF / group).glob("*.yaml"))


@cache
def _conf(group: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def _has(conf: Any, key: str, value: Any) -> bool:
    """Return whether the config has this value, or no such key: then it is not a setting.

    A value that refers to another setting may be any.
    """
    for part in key.split("."):
        if not isinstance(conf, Mapping) or part not in conf:
            return True
        conf = conf[part]
    return bool(conf == value and isinstance(conf, bool) == isinstance(value, bool))


def _word(value: Any) -> str:
    """Return a value as Hydra's command line reads it."""
    if value is None:
        return "null"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _READ_AS_OTHERS
        return value if plain else quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_word(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_word, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f"{value:.15g}"

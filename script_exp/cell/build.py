"""Build the pruner, the benchmark and the tracker that a config names."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import InstantiationException

from script_exp.benchmarks.base import Benchmark
from script_exp.config.renamed import with_current_names
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError, UserError
from script_exp.results.tracker import Tracker

if TYPE_CHECKING:  # a benchmark is built without torch
    from script_exp.pruners import LayerPruner, Pruner


def build_pruner(settings: RunSettings) -> Pruner | LayerPruner:
    """Return the pruner with its budget.

    Raises:
        UserError: if a hyperparameter is out of range.
    """
    budget = {} if settings.budget is None else {"budget": settings.budget}
    return _instantiate("pruner", settings.pruner, **budget)  # type: ignore[no-any-return]


def build_benchmark(config: dict[str, Any]) -> Benchmark:
    """Return the benchmark; its samples are read lazily, once for all cells of a process that share it.

    Raises:
        UserError: if a setting is invalid.
    """
    return _benchmark(json.dumps(config, sort_keys=True))


def build_tracker(settings: RunSettings) -> Tracker:
    """Return the tracker; it sends nothing yet."""
    return _instantiate("tracker", settings.tracker)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _benchmark(config: str) -> Benchmark:
    return _instantiate("benchmark", json.loads(config))  # type: ignore[no-any-return]


def _instantiate(group: str, config: dict[str, Any], **extra: Any) -> Any:
    arguments = with_current_names(group, _without_name(config, extra))
    try:
        return hydra.utils.instantiate(arguments, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, SettingError):
            inner = str(error).rsplit("full_key: ", 1)[1:]
            raise cause.within(".".join([group, *inner])) from error
        if isinstance(cause, UserError):
            raise cause from error
        why = "" if cause is None else f" {cause}"
        raise UserError(f"{group}: {str(error).splitlines()[0]}{why}") from error


def _without_name(config: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a config; a config within it that has a name takes ``extra`` as well."""
    return {
        key: _without_name(value, extra) | extra if isinstance(value, dict) and "name" in value else value
        for key, value in config.items()
        if key != "name"
    }

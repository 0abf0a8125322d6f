"""Select the runs of an experiment's sweep, by the settings of its cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from script_exp.config.command_line import CONF
from script_exp.config.multirun import expand
from script_exp.errors import UserError, unknown_name
from script_exp.results.read import draws

_COLUMNS = ("model", "benchmark", "pruner", "budget", "seed", "limit", "dtype", "attention", "query_text")
_IRRELEVANT = {"latency", "unpruned", "outputs", "tracker", "data", "batch_size", "shards", "shard"}
_IRRELEVANT |= {"device", "feature_cache_gib", "record_kept", "force", "experiment", "hydra"}


def of_experiment(runs: pd.DataFrame, name: str, *, any_model: bool = False) -> pd.DataFrame:
    """Return the runs that ``experiment=name`` asks for, and their unpruned runs.

    A setting that the experiment does not name may have any value, except ``limit``: runs on part of a
    benchmark count only if it asks for them. Models are compared by name, or not at all with ``any_model``.

    Raises:
        UserError: if there is no such experiment, or it sets something that runs cannot be chosen by.
    """
    folder = CONF / "experiment"
    if not (folder / f"{name}.yaml").exists():
        raise unknown_name("experiment", name, (file.stem for file in folder.glob("*.yaml")))
    unpruned, masks = runs["pruner"] == "none", {}
    chosen = pd.Series(data=False, index=runs.index)
    for cell in _cells(name):
        fits = pd.Series(data=True, index=runs.index)
        for key, value in cell.items():
            if key == "model" and any_model:
                continue
            if (key, str(value)) not in masks:
                has = _has(runs, key, value, name)
                if key.startswith(("pruner", "budget")):
                    has |= unpruned
                masks[key, str(value)] = has | ~draws(runs) if key == "seed" else has
            fits &= masks[key, str(value)]
        chosen |= fits
    return runs[chosen]


def _cells(name: str) -> Iterator[dict[str, Any]]:
    """Yield the settings that the experiment names for each cell, and the limit.

    Only the part that all cells share is composed, because Hydra takes a tenth of a second each time.
    """
    asked = f"experiment={name}"
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = compose("config", [asked], return_hydra_config=True)
            cells = expand(config.hydra.sweeper.params, [asked])
            composed = None
            if any(
                "pruner=composed" in cell for cell in cells
            ):  # the one config with another name: its parts'
                composed = compose("config", [asked, "pruner=composed"]).pruner.name
    except HydraException as error:
        raise UserError(f"{asked}: {str(error).splitlines()[0]}") from error
    common = {key: OmegaConf.select(config, key) for key in _named_in(name)}
    common = {
        key: value.name if key in ("model", "benchmark", "pruner") else value for key, value in common.items()
    }
    words = {word for cell in cells for word in cell}
    parsed = {word: OverridesParser.create().parse_override(word) for word in words}
    for cell in cells:
        swept = {parsed[word].key_or_group: parsed[word].value() for word in cell}
        if swept.get("pruner") == "composed":
            swept["pruner"] = composed
        named = {"limit": None} | common | swept
        yield {key: value for key, value in named.items() if _is_relevant(key)}


def _named_in(name: str) -> Iterator[str]:
    """Yield the keys that the file sets outside its sweep, and those of the experiments it is based on."""
    file = CONF / "experiment" / f"{name}.yaml"
    for key, value in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        if key == "defaults":
            for item in value:
                if isinstance(item, dict):
                    yield from (group.removeprefix("override ").strip().lstrip("/") for group in item)
                elif item != "_self_":
                    yield from _named_in(item)
        elif isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key


def _is_relevant(key: str) -> bool:
    """Return whether runs are chosen by this setting."""
    group = key.partition(".")[0].partition("/")[0]
    return group not in _IRRELEVANT and not key.startswith("model.")


def _has(runs: pd.DataFrame, key: str, value: Any, name: str) -> pd.Series:
    """Return which runs have this value of the setting, or do not have the setting."""
    group, _, setting = key.partition(".")
    if setting and group in ("pruner", "benchmark"):
        found = [json.loads(settings).get(setting) for settings in runs[f"{group}_settings"]]
        return pd.Series([one is None or one == value for one in found], index=runs.index, dtype=bool)
    if key not in _COLUMNS:
        expected = ", ".join(_COLUMNS)
        raise UserError(
            f"experiment={name}: cannot choose runs by {key}; expected {expected}, pruner.* or benchmark.*"
        )
    if value is None:
        return runs[key].isna()
    if value == "auto":
        return pd.Series(data=True, index=runs.index)
    if key == "query_text":
        return runs[key].isna() | _equal(runs[key], value)
    return _equal(runs[key], value)


def _equal(column: pd.Series, value: Any) -> pd.Series:
    same: pd.Series = (column == value).fillna(value=False).astype(bool)
    return same

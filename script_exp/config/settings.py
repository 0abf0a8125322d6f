"""The settings of one run, checked before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from script_exp.config.renamed import current_name
from script_exp.errors import (
    SettingError,
    UserError,
    check_choice,
    check_name,
    check_number,
    check_storable,
    check_whole,
)
from script_exp.models.conversations import CONVERSATIONS
from script_exp.models.loading.wanted import Wanted
from script_exp.models.rules import PruningRules
from script_exp.pruners.contract.budget import check_budget

# Raise this whenever the same settings would give another result; it is part of every run's identity.
PROTOCOL_VERSION = 5

_DTYPES = ("auto", "float32", "float16", "bfloat16")
_ATTENTION = ("sdpa", "eager", "flash_attention_2")
COMPILE_MODES = ("off", "default", "reduce-overhead")
PLACEMENTS = ("one_device", "auto")
QUANTIZATIONS = ("off", "int8", "int4")
_LATER_KEYS = {"compile": "off", "placement": "one_device", "quantization": "off"}
"""Keys of a model that older runs and configs do not have, and what they meant."""
QUERY_TEXTS = ("bare", "released")
_UNPRUNED = "none"
# Folders of other things in outputs and in run directories: no names of a model or benchmark.
_RESERVED = ("replaced", "sweeps", "analysis", "shards")
PLACE_OF_DATA = ("data", "check_count")  # a run's identity has the samples' fingerprint instead
_AFTERWARDS = ("judge",)  # only grades finished answers


@dataclass(frozen=True)
class ModelSettings:
    """Group ``model``. The keys are explained in ``conf/model``."""

    name: str
    path: str
    clip: str | None
    adapter: str | None
    weights: str
    compile: str
    conversation: str
    relevance_sign: int
    positions: str
    newline: str
    in_llm: dict[str, Any]
    placement: str
    quantization: str

    @classmethod
    def from_config(cls, plain: dict[str, Any]) -> ModelSettings:
        """Check the group.

        Raises:
            UserError: if a key is missing or unknown, or a value is invalid.
        """
        known = cls.__dataclass_fields__.keys()
        plain = _LATER_KEYS | plain
        for key in known - plain.keys():
            raise UserError(f"model.{key} is missing: expected the keys {', '.join(known)}")
        for key in plain.keys() - known:
            raise SettingError(f"model.{key}", plain[key], f"the keys {', '.join(known)}")
        check_name("model.name", plain["name"], _RESERVED)
        for key in ("path", "clip", "adapter"):
            if not isinstance(plain[key], str) and (key == "path" or plain[key] is not None):
                raise SettingError(f"model.{key}", plain[key], "text" if key == "path" else "text or null")
        if plain["adapter"] is not None:
            plain["adapter"] = current_name("model.adapter", plain["adapter"])
        check_choice("model.weights", plain["weights"], ("pretrained", "random"))
        for key in ("compile", "quantization"):
            if plain[key] is False:  # YAML's bare off
                plain[key] = "off"
        check_choice("model.compile", plain["compile"], COMPILE_MODES)
        check_choice("model.quantization", plain["quantization"], QUANTIZATIONS)
        check_choice("model.placement", plain["placement"], PLACEMENTS)
        check_choice("model.conversation", plain["conversation"], CONVERSATIONS)
        try:
            PruningRules(plain["relevance_sign"], plain["positions"], plain["newline"])
        except SettingError as error:
            raise error.within("model") from error
        return cls(**plain)

    @property
    def wanted(self) -> Wanted:
        """The settings that name the checkpoint."""
        return Wanted(self.path, self.clip, self.weights, self.name, self.adapter)

    @property
    def rules(self) -> PruningRules:
        """The choices that belong to the model rather than to a method."""
        return PruningRules(self.relevance_sign, self.positions, self.newline)


@dataclass(frozen=True)
class RunSettings:
    """The composed config, as plain and checked values. The keys are explained in ``conf/``."""

    model: ModelSettings
    benchmark: dict[str, Any]
    pruner: dict[str, Any]
    tracker: dict[str, Any]
    budget: int | float | None
    query_text: str | None
    seed: int
    limit: int | None
    shards: int
    shard: int | None
    batch_size: int | str
    feature_cache_gib: float
    record_kept: bool
    force: bool
    device: str
    dtype: str
    attention: str
    latency: str
    unpruned: str
    outputs: Path
    group: str | None = None
    """Name of the sweep, for the tracker."""

    @classmethod
    def from_config(cls, config: DictConfig, group: str | None = None) -> RunSettings:
        """Check the composed config of a cell of the sweep ``group``.

        Raises:
            UserError: for the first invalid value.
        """
        try:
            plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise UserError(str(error).splitlines()[0]) from error
        for part in ("model", "benchmark", "pruner", "tracker"):
            if not isinstance(plain[part], dict):
                raise SettingError(part, plain[part], f"the name of a file in conf/{part}")
        for part in ("benchmark", "pruner"):
            for key in ("name", "_target_"):
                if key not in plain[part]:
                    raise UserError(f"{part}.{key} is missing: expected it in the file of conf/{part}")
        check_name("benchmark.name", plain["benchmark"]["name"], _RESERVED)
        check_name("pruner.name", plain["pruner"]["name"])
        for key in ("latency", "unpruned"):  # YAML reads a bare off as false
            plain[key] = {False: "off", True: "on"}.get(plain[key], plain[key])
        given = check_budget(plain["budget"])
        plain["model"] = ModelSettings.from_config(plain["model"])
        if not isinstance(plain["device"], str):
            raise SettingError("device", plain["device"], "auto, cpu, cuda, cuda:0 and so on")
        check_whole("seed", plain["seed"], lowest=0)
        plain.setdefault("query_text", "bare")  # older runs do not have this key
        check_choice("query_text", plain["query_text"], (None, *QUERY_TEXTS), "bare, released or null")
        if plain["batch_size"] != "auto":
            check_whole("batch_size", plain["batch_size"], lowest=1)
        check_number(
            "feature_cache_gib", plain["feature_cache_gib"], lambda gib: 0 <= gib < math.inf, "a number >= 0"
        )
        check_choice("record_kept", plain["record_kept"], (True, False))
        check_choice("force", plain["force"], (True, False))
        _check_shards(plain["shards"], plain["shard"], plain["force"])
        if plain["shards"] > 1 and plain["model"].weights == "random":
            raise SettingError("shards", plain["shards"], "1: random weights answer nothing")
        if plain["limit"] is not None:
            check_whole("limit", plain["limit"], lowest=1)
        check_choice("dtype", plain["dtype"], _DTYPES)
        check_choice("attention", plain["attention"], _ATTENTION)
        if plain["attention"] == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
            raise SettingError("attention", plain["attention"], "sdpa or eager: flash-attn is not installed")
        check_choice("latency", plain["latency"], ("on", "off"))
        check_choice("unpruned", plain["unpruned"], ("auto", "run", "read", "off"))
        for part in ("benchmark", "pruner", "tracker"):
            check_storable(part, plain[part])
        # An unpruned run ignores the budget, so a sweep over budgets runs it once.
        plain["budget"] = None if plain["pruner"]["name"] == _UNPRUNED else given
        # Methods that draw have a setting `seed`. The others draw nothing, so all seeds are one run.
        parts = [plain["pruner"], *(one for one in plain["pruner"].values() if isinstance(one, dict))]
        plain["seed"] = plain["seed"] if any("seed" in part for part in parts) else 0
        plain["outputs"] = folder_of("outputs", plain["outputs"])
        plain["group"] = group
        return cls(**{key: plain[key] for key in cls.__dataclass_fields__})

    def result_relevant(self) -> dict[str, Any]:
        """Return the settings that can change a result; the tracker, latency, shards and so on cannot.

        Of the model, only the name is included; ``RunCell`` adds what it is made of and where it runs.
        """
        irrelevant = {"model", "tracker", "latency", "unpruned", "outputs", "device", "dtype"}
        irrelevant |= {"shards", "shard", "feature_cache_gib", "record_kept", "force", "group"}
        irrelevant |= {"query_text"}  # only for methods that ask: RunCell adds it
        settings = {key: value for key, value in vars(self).items() if key not in irrelevant}
        settings["benchmark"] = without_place(self.benchmark)
        return {"protocol": PROTOCOL_VERSION, "model": self.model.name, **settings}

    def benchmark_rules(self) -> dict[str, Any]:
        """Return the benchmark's settings except its name and the location of its data."""
        settings = without_place(self.benchmark)
        return {key: value for key, value in settings.items() if key not in ("_target_", "name")}


def folder_of(key: str, value: object) -> Path:
    """Return the folder that a setting names.

    Raises:
        SettingError: if it is empty or no text; YAML reads ``2024``, ``null`` and ``true`` as others.
    """
    if not isinstance(value, str) or not value:
        name = str(value).lower() if isinstance(value, bool) else value
        hint = "" if value in (None, "") else f"; a folder of this name is {key}=./{name}"
        raise SettingError(key, value, f"a folder, as text{hint}")
    return Path(value)


def without_place(benchmark: dict[str, Any]) -> dict[str, Any]:
    """Return the benchmark's settings that are part of a run's identity."""
    return {key: value for key, value in benchmark.items() if key not in (*PLACE_OF_DATA, *_AFTERWARDS)}


def _check_shards(shards: int, shard: object, force: bool) -> None:
    check_whole("shards", shards, lowest=1)
    if shards == 1 and shard is None:
        return
    if isinstance(shard, bool) or not isinstance(shard, int) or not 0 <= shard < shards:
        raise SettingError(
            "shard", shard, f"the number of this shard, 0 to {shards - 1}, with shards={shards}"
        )
    if force:
        raise SettingError("force", force, "false with shards: each would discard the others' answers")

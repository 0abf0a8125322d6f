"""Translate dotted names that have changed, in configs (``_target_``, ``model.adapter``) and saved runs."""

from __future__ import annotations

from typing import Any

from script_exp.errors import SettingError

# Old names from shipped configs, which saved runs contain. They still work, and a run's identity uses the
# first name, so that it stays the same run.
_STILL_UNDERSTOOD = {
    "script_exp.models.llava_next_whole.LlavaNextWholeAdapter": (
        "script_exp.models.families.llava_next_whole.LlavaNextWholeAdapter"
    ),
    "script_exp.benchmarks.judge.Judge": "script_exp.benchmarks.rules.judge.Judge",
}
_FIRST_NAMES = {now: first for first, now in _STILL_UNDERSTOOD.items()}

# New places of modules whose classes a user's config can name.
_MOVED = {
    **{f"script_exp.pruners.{name}": f"script_exp.pruners.before_llm.{name}" for name in (
        "graph", "none", "query", "random", "script", "script_released", "trim",
    )},
    **{f"script_exp.pruners.{name}": f"script_exp.pruners.inside_llm.{name}" for name in (
        "fastv", "pyramid",
    )},
    "script_exp.pruners.base": "script_exp.pruners.contract.pruner",
    "script_exp.pruners.layer": "script_exp.pruners.contract.layer_pruner",
    "script_exp.benchmarks.files": "script_exp.benchmarks.reading.files",
    "script_exp.benchmarks.video": "script_exp.benchmarks.reading.video",
    "script_exp.benchmarks.judge": "script_exp.benchmarks.rules.judge",
    "script_exp.benchmarks.metric": "script_exp.benchmarks.rules.metric",
    "script_exp.models.images": "script_exp.models.families.adapter",
    **{f"script_exp.models.{name}": f"script_exp.models.families.{name}" for name in (
        "llava", "llava_next", "llava_next_video", "llava_next_whole", "llava_onevision",
        "llava_onevision_video", "qwen2_5_vl", "qwen2_5_vl_video", "video",
    )},
    "script_exp.tiny.oracle": "script_exp.training.oracle",
}  # fmt: skip


def current_name(key: str, name: str) -> str:
    """Return the current name of ``name``.

    Args:
        key: the setting with the name, for the message.
        name: a dotted name.

    Raises:
        SettingError: if it has moved and no shipped config used it; the message has the new name.
    """
    if name in _STILL_UNDERSTOOD:
        return _STILL_UNDERSTOOD[name]
    module, _, attribute = name.rpartition(".")
    if module in _MOVED:
        raise SettingError(key, name, f"{_MOVED[module]}.{attribute}, its new name")
    return name


def with_current_names(key: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config to instantiate with the current name of every ``_target_`` in it.

    Raises:
        SettingError: as for :func:`current_name`.
    """
    renamed = dict(config)
    for name, value in config.items():
        place = f"{key}.{name}"
        if isinstance(value, dict):
            renamed[name] = with_current_names(place, value)
        elif name == "_target_" and isinstance(value, str):
            renamed[name] = current_name(place, value)
    return renamed


def first_name(name: str | None) -> str | None:
    """Return the name that a run's identity uses, however often the class has moved since."""
    return name if name is None else _FIRST_NAMES.get(name, name)

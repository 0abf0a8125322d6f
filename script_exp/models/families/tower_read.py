"""Which vision tower a LLaVA has and what it reads of it: one ``model_type`` stands for several."""

from __future__ import annotations

from typing import Any

from script_exp.errors import SettingError

CLIP, SIGLIP = "clip_vision_model", "siglip_vision_model"
_STRATEGY = {CLIP: "default", SIGLIP: "full"}
_OTHERWISE = {
    CLIP: "the class token would count as a patch",
    SIGLIP: "the first patch would be left out as if it were a class token",
}


def check_kind(config: Any, tower: str) -> None:
    """Check that a model has a kind of tower.

    Args:
        config: config of the model.
        tower: ``CLIP`` or ``SIGLIP``.

    Raises:
        SettingError: for another tower.
    """
    found = config.vision_config.model_type
    if found != tower:
        raise SettingError("vision_config.model_type", found, f"{tower}, the only tower of this adapter")


def check_tower(config: Any, tower: str) -> None:
    """Check that a model has a kind of tower, and that it reads all of its patches and nothing else.

    Pixtral-12B and LLaVA-Interleave are examples of ``llava`` models with other towers.

    Args:
        config: config of the model.
        tower: ``CLIP`` or ``SIGLIP``.

    Raises:
        SettingError: for another tower or another ``vision_feature_select_strategy``.
    """
    check_kind(config, tower)
    strategy, wanted = config.vision_feature_select_strategy, _STRATEGY[tower]
    if strategy != wanted:
        raise SettingError("vision_feature_select_strategy", strategy, f"{wanted}: {_OTHERWISE[tower]}")

"""Spread a model over all devices that are visible: ``model.placement=auto``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from script_exp.errors import SettingError, UserError

log = logging.getLogger(__name__)


def check_placement(placement: str, named: str, device: torch.device, layout: str, compiled: str) -> None:
    """Check that a model can be spread over devices here.

    Args:
        placement: ``model.placement``.
        named: ``device`` as the user wrote it.
        device: the device that this names.
        layout: layout of the checkpoint.
        compiled: ``model.compile``.

    Raises:
        SettingError: if it cannot.
    """
    if placement != "auto":
        return
    if device.type != "cuda":
        raise SettingError(
            "model.placement", placement, f"one_device with device={device}: there are no GPUs"
        )
    if torch.device(device).index is not None:
        raise SettingError("device", named, "auto or cuda with model.placement=auto, which uses all GPUs")
    if layout in ("random", "original"):
        what = "random weights" if layout == "random" else "a checkpoint in LLaVA's original layout"
        raise SettingError("model.placement", placement, f"one_device with {what}")
    if compiled != "off":
        raise SettingError("model.compile", compiled, "off with model.placement=auto")


def device_map(placement: str, device: torch.device) -> Any:
    """Return where the parts of a model go, as ``from_pretrained`` takes it."""
    return "auto" if placement == "auto" else {"": device}


@contextmanager
def kept_whole(config: Any, names: Collection[str]) -> Iterator[None]:
    """Within the context, models of a config are spread without cutting modules of the classes ``names``."""
    with torch.device("meta"):
        kind = type(AutoModelForImageTextToText.from_config(config))
    own = kind._no_split_modules
    kind._no_split_modules = [*own, *names]
    try:
        yield
    finally:
        kind._no_split_modules = own


def check_placed(setting: str, model: Any) -> None:
    """Check that a spread model fits into the memory of the GPUs and of the host, and log where it is.

    Raises:
        UserError: if a part has to be read from the disk in every forward pass.
    """
    places = getattr(model, "hf_device_map", None) or {}
    used = Counter(map(str, places.values()))
    log.info("placement: %s", ", ".join(f"{count} parts on {place}" for place, count in used.items()))
    if "disk" in used:
        raise _too_large(setting)


@contextmanager
def disk_refused(setting: str) -> Iterator[None]:
    """Within the context, raise the error of :func:`check_placed` where transformers cannot even load.

    Weights that it converts, such as InternVL's fused ``qkv``, it would have to write to the disk again.
    """
    try:
        yield
    except ValueError as error:
        if "offload_folder" in str(error):  # which transformers asks for
            raise _too_large(setting) from error
        raise


def _too_large(setting: str) -> UserError:
    return UserError(
        f"{setting} does not fit into the memory of the GPUs and of this machine: expected more GPUs, a "
        "smaller dtype, or model.quantization=int4"
    )

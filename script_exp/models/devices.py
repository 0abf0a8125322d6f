"""Which devices the parts of a model compute on, wherever accelerate keeps their weights."""

from __future__ import annotations

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """Return the device that a module computes on.

    A model spread over devices has hooks that fetch the weights of a part to where the part runs; between its
    runs, they may be on the device ``meta``.
    """
    for part in module.modules():
        place = _hooked(part)
        if place is not None:
            return place
        own = next(part.parameters(recurse=False), None)
        if own is not None:
            return own.device
    raise ValueError(f"{type(module).__name__} has no weights")


def devices_of(model: nn.Module) -> list[torch.device]:
    """Return all devices that parts of a model compute on, the first part's first."""
    found = [
        device_of(part) for part in model.modules() if next(part.parameters(recurse=False), None) is not None
    ]
    return list(dict.fromkeys([device_of(model), *found]))


def _hooked(module: nn.Module) -> torch.device | None:
    """Return the device that accelerate's hooks run a module on; None without hooks that do."""
    hook = getattr(module, "_hf_hook", None)
    for one in getattr(hook, "hooks", [hook]):
        place = getattr(one, "execution_device", None)
        if place is not None:
            return torch.device(place)
    return None

"""Whether a model fits into a device's memory, said before the system ends the process for it."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from script_exp.errors import SettingError

_GIB = 2**30


def check_memory(model: Any, device: torch.device | str) -> None:
    """Check that a model without memory of its own fits into what is free on ``device``.

    Raises:
        SettingError: if its weights are larger.
    """
    device = torch.device(device)
    needed = sum(values.numel() * values.element_size() for values in model.parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise SettingError(
            "device",
            device,
            f"one with {needed / _GIB:.1f} GiB for the weights alone ({free / _GIB:.1f} GiB are free), "
            "a smaller dtype or model, or for random weights model.path=a folder whose config.json has "
            "fewer layers",
        )

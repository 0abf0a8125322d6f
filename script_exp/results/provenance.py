"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from script_exp.results.code_version import git_state

_PACKAGES = ("script-exp", "torch", "transformers", "hydra-core", "numpy", "tokenizers")


def provenance(
    checkpoint: str,
    weights: str,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    compiled: str,
    placement: str,
) -> dict[str, Any]:
    """Return what distinguishes the conditions of two runs.

    Args:
        checkpoint: ``model.path``.
        weights: ``model.weights``.
        device: the device, or one of those of a spread model.
        dtype: dtype of the weights.
        attention: the attention kernel.
        compiled: ``model.compile``.
        placement: ``model.placement``.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),  # tells jobs apart that start together
        "checkpoint": checkpoint,
        "weights": weights,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "device": device_name(device) if placement == "one_device" else gpu_names(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "dtype": str(dtype).removeprefix("torch."),
        "attention": attention,
        "compile": compiled,
        "placement": placement,
        "host": platform.node(),
        "system": platform.platform(),
    }


def gpu_names() -> str:
    """Return the names of all GPUs, with their numbers."""
    names = Counter(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return " + ".join(f"{count} x {name}" for name, count in names.items())


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from script_exp.results.code_version import git_state

_PACKAGES = ("script-exp", "torch", "transformers", "hydra-core", "numpy", "tokenizers")


def provenance(
    checkpoint: str, weights: str, device: torch.device, dtype: torch.dtype, attention: str, compiled: str
) -> dict[str, Any]:
    """Return what distinguishes the conditions of two runs; ``checkpoint`` is ``model.path``,
    ``compiled`` is ``model.compile``."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "checkpoint": checkpoint,
        "weights": weights,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "device": device_name(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "dtype": str(dtype).removeprefix("torch."),
        "attention": attention,
        "compile": compiled,
        "host": platform.node(),
        "system": platform.platform(),
    }


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

"""Peak memory of a stretch of code."""

from __future__ import annotations

from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # see proc(5)


class PeakMemory:
    """Peak since the last reset: allocated GPU memory, or on a CPU the process's resident set (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        """Start anew."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _CLEAR_REFS.exists():
            try:
                _CLEAR_REFS.write_text(_RESET_PEAK)
            except OSError:  # not permitted here: read() must not report an older peak
                self._device = torch.device("meta")

    def read(self) -> int | None:
        """Bytes, or None where the peak cannot be reset or read."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._device.type == "cpu" and _STATUS.exists():
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None

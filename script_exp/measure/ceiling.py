"""The FLOP/s of a large matrix product: the ceiling that the speed of a stage is compared with."""

from __future__ import annotations

import torch

from script_exp.measure.clock import Clock, interleaved

_SIDE = {"cuda": 8192, "cpu": 1024}


@torch.inference_mode()
def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large square matrix product: median of ten, 2 per multiply-accumulate."""
    side = _SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    calls = {"product": lambda: torch.mm(left, right, out=out)}
    times = interleaved(Clock(device), calls, warm_up=3, repeats=10)
    return 2 * side**3 / (times["product"].median / 1e3)

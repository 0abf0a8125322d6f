"""Peak memory of a stretch of code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile


def peak_memory(model: nn.Module, call: Callable[[], object]) -> int:
    """Peak bytes of tensor memory on the model's device while ``call`` runs.

    On a GPU what torch had allocated at most. On a CPU, where torch keeps no such count, the model's
    weights and the largest sum of allocations less releases that the profiler sees during the call.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = profiled.profiler.kineto_results.events() if profiled.profiler else []
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return sum(parameter.nbytes for parameter in model.parameters()) + peak

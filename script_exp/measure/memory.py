"""Peak memory of a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile


def peak_memory(model: nn.Module, call: Callable[[], object]) -> int:
    """Return the peak bytes of tensor memory on the model's device while ``call`` runs.

    On a GPU, this is torch's peak of allocated memory. On a CPU, where torch keeps no such count, it is the
    model's weights plus the peak of allocations minus releases that the profiler sees during the call.
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

"""Peak memory of a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from script_exp.models.devices import devices_of


def peak_memory(model: nn.Module, call: Callable[[], object]) -> int:
    """Return the peak bytes of tensor memory on the model's devices while ``call`` runs.

    On GPUs, this is the sum of torch's peaks of allocated memory. On a CPU, where torch keeps no such count,
    it is the model's weights plus the peak of allocations minus releases that the profiler sees during the
    call.
    """
    gpus = [device for device in devices_of(model) if device.type == "cuda"]
    if gpus:
        for device in gpus:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        call()
        for device in gpus:
            torch.cuda.synchronize(device)
        return sum(int(torch.cuda.max_memory_allocated(device)) for device in gpus)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = profiled.profiler.kineto_results.events() if profiled.profiler else []
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return sum(map(_bytes_of, model.parameters())) + peak


def _bytes_of(tensor: Tensor) -> int:
    """Return what a tensor takes; one of quantized weights consists of others."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()
    return sum(_bytes_of(getattr(tensor, name)) for name in names)

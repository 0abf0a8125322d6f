"""Timing on any device, and the spread of repeated times."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Spread:
    """Median with quartiles, in ms."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of several times."""
        q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(q1), float(q3))


class Clock:
    """Collects times in ms by name, with CUDA events on a GPU and a monotonic clock elsewhere.

    GPUs are synchronized before and after every stage.

    Args:
        device: the device that runs the stages, or all of them; the last operation is on the first one.
        now: the clock on a CPU, in ns. ``time.process_time_ns`` counts processor time only, which for a
            single thread is what the monotonic clock would show on an idle machine.
    """

    def __init__(
        self, device: torch.device | Sequence[torch.device], now: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.devices = [device] if isinstance(device, torch.device) else list(device)
        self.device, self._now = self.devices[0], now
        self.times: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.device.type == "cuda":
            event: Any = torch.cuda.Event
            start, end = event(enable_timing=True), event(enable_timing=True)
            self._wait(self.devices)
            start.record()
            yield
            self._wait(self.devices[1:])
            end.record()
            end.synchronize()
            self.times[name].append(start.elapsed_time(end))
        else:
            begin = self._now()
            yield
            self.times[name].append((self._now() - begin) / 1e6)

    @staticmethod
    def _wait(devices: Sequence[torch.device]) -> None:
        for device in devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


def interleaved(
    clock: Clock, calls: Mapping[str, Callable[[], object]], *, warm_up: int, repeats: int
) -> dict[str, Spread]:
    """Time several calls in turn, so that drift in the device's speed affects all of them.

    Args:
        clock: times the calls; its earlier times are discarded.
        calls: the calls by name.
        warm_up: number of turns that are not counted.
        repeats: number of counted turns.
    """
    for turn in range(warm_up + repeats):
        if turn == warm_up:
            clock.times.clear()
        for name, call in calls.items():
            with clock.stage(name):
                call()
    return {name: Spread.of(times) for name, times in clock.times.items()}

"""Batch the samples of a benchmark, and load their images in threads while the model runs earlier batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from script_exp.benchmarks.base import Sample

BATCHES_AHEAD = {"image": 2, "video": 1}
"""Batches loaded while the model is busy, by modality: a long video takes gigabytes."""
_THREADS = min(8, os.cpu_count() or 1)
Loaded = TypeVar("Loaded")


def in_batches(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Return all samples in batches of ``size``, with questions about one image next to each other.

    The same samples and size give the same batches, so a resumed run, or one split into shards, computes
    exactly what an uninterrupted one does (unless ``batch_size=auto`` has to split batches).
    """
    by_unit: dict[str, list[Sample]] = {}
    for sample in samples:
        by_unit.setdefault(sample.unit, []).append(sample)
    ordered = [sample for unit in by_unit.values() for sample in unit]
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def loaded_ahead(
    batches: Sequence[Sequence[Sample]], load: Callable[[Sample], Loaded], ahead: int
) -> Iterator[tuple[Sequence[Sample], dict[str, Future[Loaded]]]]:
    """Yield each batch with a future of ``load`` for each unit's first sample, ``ahead`` batches early."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="load") as threads:
        waiting: deque[tuple[Sequence[Sample], dict[str, Future[Loaded]]]] = deque()
        try:
            for batch in batches:
                first = {sample.unit: sample for sample in reversed(batch)}
                waiting.append((batch, {unit: threads.submit(load, one) for unit, one in first.items()}))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            threads.shutdown(cancel_futures=True)

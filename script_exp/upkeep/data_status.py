"""Check that the benchmarks' data is present and complete, and say where to get what is missing."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from script_exp.benchmarks.base import Sample, spread_over
from script_exp.benchmarks.reading.addresses import PLACES
from script_exp.benchmarks.reading.files import FolderBenchmark, Source
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config, benchmark_names
from script_exp.errors import DataError, UserError, unknown_name
from script_exp.terminal.progress import counted

_LOOKED_AT = {"image": 8, "video": 2}  # samples to load without --deep
_FRAMES = 16  # frames to load of a video; a run loads as many as its model takes
_BATCH = 1024  # samples given to the threads at a time, so that Ctrl-C works


@dataclass(frozen=True)
class DataStatus:
    """The state of one benchmark's data.

    Attributes:
        name: as in ``conf/benchmark``.
        benchmark: the benchmark, with its data folder.
        source: where the samples come from; None if no source was found.
        samples: number of samples; None if they cannot be read.
        official: official number of samples; None without a source.
        problem: why the samples cannot be used, in one sentence; None if they can.
        looked_at: number of images or videos that were loaded.
        bad: for each of those that does not load, the id of a sample with it, and why.
    """

    name: str
    benchmark: FolderBenchmark
    source: Source | None = None
    samples: int | None = None
    official: int | None = None
    problem: str | None = None
    looked_at: int = 0
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether a run would find what it needs, as far as this was checked."""
        return self.problem is None and not self.bad

    @property
    def folder(self) -> Path:
        """Absolute path of the data folder."""
        return self.benchmark.folder.absolute()


def file_benchmarks(names: Sequence[str], data: str | None) -> Iterator[FolderBenchmark]:
    """Yield the named benchmarks, or all that are read from files.

    Args:
        names: names of files in ``conf/benchmark``; empty for all.
        data: folder with one folder per benchmark; None for the one in ``conf/config.yaml``.

    Raises:
        UserError: if a name is not one of them.
    """
    configs = {name: benchmark_config(name, data) for name in benchmark_names()}
    built = {
        name: build_benchmark(config | ({"frames": _FRAMES} if "frames" in config else {}))
        for name, config in configs.items()
    }
    from_files = {name: one for name, one in built.items() if isinstance(one, FolderBenchmark)}
    for name in names or from_files:
        if name not in from_files:
            raise unknown_name("benchmark", name, from_files)
        yield from_files[name]


def check_data(benchmark: FolderBenchmark, *, deep: bool = False) -> DataStatus:
    """Read and count the samples of a benchmark, and load a few or all of its images.

    Args:
        benchmark: the benchmark, with its data folder.
        deep: whether to load every image or video, in parallel.
    """
    status = DataStatus(benchmark.name, benchmark)
    try:
        status = replace(status, source=benchmark.source, official=benchmark.counts[benchmark.source])
    except UserError as error:
        return replace(status, problem=str(error))
    try:
        samples = benchmark.samples()
    except UserError as error:
        return replace(status, problem=str(error), samples=_count(benchmark))
    shown: Sequence[Sample] = _one_of_each_visual(samples)
    if not deep:
        shown = spread_over(shown, _LOOKED_AT[benchmark.modality])
    reasons = list(counted(_load(shown), len(shown), benchmark.name))
    bad = {sample.id: why for sample, why in zip(shown, reasons, strict=True) if why is not None}
    return replace(status, samples=len(samples), looked_at=len(shown), bad=bad)


def download(benchmark: FolderBenchmark) -> list[str]:
    """Return where to get the data, as lines of text: the hub, and what the benchmark's module says."""
    lines = PLACES[benchmark.home].lines if benchmark.home in PLACES else [benchmark.home]
    module = inspect.getdoc(sys.modules[type(benchmark).__module__]) or ""
    paragraph = re.search(r"^Data:\n((?: {4}.*\n)+)", module, re.MULTILINE)
    said = [] if paragraph is None else [line.strip() for line in paragraph[1].splitlines()]
    return lines + [line.replace("``", "") for line in said]


def _count(benchmark: FolderBenchmark) -> int | None:
    """Count the samples even if their number is not the official one; None if they cannot be read."""
    try:
        return len(replace(benchmark, check_count=False).samples())
    except UserError:
        return None


def _one_of_each_visual(samples: Iterable[Sample]) -> list[Sample]:
    """Return the first sample of each image or video, as far as loaders can be compared."""
    distinct: dict[Any, Sample] = {}
    for sample in samples:
        visual = sample.visual
        distinct.setdefault((visual.func, visual.args) if isinstance(visual, partial) else visual, sample)
    return list(distinct.values())


def _load(samples: Sequence[Sample]) -> Iterator[str | None]:
    """Yield for each sample why its image or video does not load; None if it does."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as threads:
        for start in range(0, len(samples), _BATCH):
            yield from threads.map(_why_not, samples[start : start + _BATCH])


def _why_not(sample: Sample) -> str | None:
    try:
        sample.visual()
    except DataError as error:
        return str(error)
    return None

"""Whether the data of the benchmarks is there and complete, and where what is missing can be had."""

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
from script_exp.benchmarks.reading.files import FolderBenchmark, Source
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config, benchmark_names
from script_exp.errors import DataError, UserError, unknown_name
from script_exp.terminal.progress import counted

_LOOKED_AT = {"image": 8, "video": 2}  # samples that are loaded where not all are
_FRAMES = 16  # of a video that is loaded; a run takes as many as its model
_BATCH = 1024  # images handed to the threads at a time, so that an interrupt is heard


@dataclass(frozen=True)
class DataStatus:
    """What is known about one benchmark's data.

    Attributes:
        name: as in ``conf/benchmark``.
        benchmark: with the folder where it was looked for.
        source: where the samples come from; None if neither source is there.
        samples: how many there are; None if they cannot be read.
        official: how many there should be; None without a source.
        problem: why the samples cannot be used, in one sentence; None if they can.
        looked_at: images or videos that were loaded.
        bad: of those, the id of a sample with each that does not load, and why.
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
        """Whether a run would find what it needs, as far as was looked."""
        return self.problem is None and not self.bad

    @property
    def folder(self) -> Path:
        """Absolute folder that it was looked for in."""
        return self.benchmark.folder.absolute()


def file_benchmarks(names: Sequence[str], data: str | None) -> Iterator[FolderBenchmark]:
    """The named benchmarks that are read from files, or all of them.

    Args:
        names: of ``conf/benchmark``; empty for all.
        data: folder with a folder for each benchmark; None for the one in ``conf/config.yaml``.

    Raises:
        UserError: for a name that is not one of them.
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
    """Read the texts of a benchmark and count them, and load a few of its images, or all.

    Args:
        benchmark: where to look, and for what.
        deep: whether every image or video is loaded, in parallel.
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
    """Where the data can be had, as lines of text: the hub, and what the benchmark's file says."""
    lines = [benchmark.home]
    if "/lmms-lab/" in benchmark.home:
        moved = benchmark.home.replace("/lmms-lab/", "/lmms-lab-encoder/")
        lines = [moved, f"(until July 2026 {benchmark.home})"]
    module = inspect.getdoc(sys.modules[type(benchmark).__module__]) or ""
    paragraph = re.search(r"^Data:\n((?: {4}.*\n)+)", module, re.MULTILINE)
    said = [] if paragraph is None else [line.strip() for line in paragraph[1].splitlines()]
    return lines + [line.replace("``", "") for line in said]


def _count(benchmark: FolderBenchmark) -> int | None:
    """How many samples there are whether or not it is the official number; None if they cannot be read."""
    try:
        return len(replace(benchmark, check_count=False).samples())
    except UserError:
        return None


def _one_of_each_visual(samples: Iterable[Sample]) -> list[Sample]:
    """The first sample of each image or video, as far as their loaders tell which they load."""
    distinct: dict[Any, Sample] = {}
    for sample in samples:
        visual = sample.visual
        distinct.setdefault((visual.func, visual.args) if isinstance(visual, partial) else visual, sample)
    return list(distinct.values())


def _load(samples: Sequence[Sample]) -> Iterator[str | None]:
    """For each sample why its image or video does not load; None if it does."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as threads:
        for start in range(0, len(samples), _BATCH):
            yield from threads.map(_why_not, samples[start : start + _BATCH])


def _why_not(sample: Sample) -> str | None:
    try:
        sample.visual()
    except DataError as error:
        return str(error)
    return None

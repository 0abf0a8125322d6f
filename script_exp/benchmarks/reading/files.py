"""What benchmarks in files share: where the data is, and whether it is complete."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from script_exp.benchmarks.base import Benchmark, Sample, TextError
from script_exp.benchmarks.reading.data import check_unique
from script_exp.errors import SettingError, UserError, check_choice

Source = Literal["llava", "hub", "json"]

LMMS_EVAL = "0.7.3"
"""The release of lmms-eval whose task files ``protocol=lmms`` follows."""

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."


@dataclass(kw_only=True)
class FolderBenchmark(Benchmark):
    """A benchmark in a folder on the user's disk.

    A subclass says where its files are and turns each source into samples.

    Attributes:
        data: the folder.
        protocol: whose prompt and rule to use, one of ``protocols``.
        protocol_version: which release of the protocol's source to follow, one of ``protocol_versions``; None
            for the first of them.
        on_error: what happens at a missing or broken image or video, or at an invalid entry of a file:
            ``raise`` ends the run, ``skip`` leaves the sample out and marks the result as partial.
        check_count: whether the number of samples has to be the official one.
        protocols: valid values of ``protocol``.
        protocol_versions: releases of lmms-eval by protocol, today's first. One stands for all that have the
            same prompt and rule. LLaVA's evaluation has not changed and has none.
        question_file: the file by which the official files are recognized.
        parquet: pattern of the hub data set's files.
        more_files: patterns of other files of the hub data set that are needed.
        archives: folder, in the benchmark's, by the pattern of the hub's archives that are unpacked there.
        revision: of the hub data set; None for its main one.
        home: where to get the data.
        counts: official number of samples by source.
    """

    data: str
    protocol: str
    protocol_version: str | None = None
    on_error: str = "raise"
    check_count: bool = True

    protocols: ClassVar[tuple[str, ...]]
    protocol_versions: ClassVar[Mapping[str, tuple[str, ...]]] = {"lmms": (LMMS_EVAL,)}
    question_file: ClassVar[str]
    parquet: ClassVar[str]
    more_files: ClassVar[tuple[str, ...]] = ()
    archives: ClassVar[Mapping[str, str]] = {}
    revision: ClassVar[str | None] = None
    home: ClassVar[str]
    counts: ClassVar[Mapping[Source, int]]

    def __post_init__(self) -> None:
        check_choice("protocol", self.protocol, self.protocols)
        self._check_version()
        check_choice("on_error", self.on_error, ("raise", "skip"))
        check_choice("check_count", self.check_count, (True, False))
        if not isinstance(self.data, str) or not self.data:
            raise SettingError("data", self.data, "the benchmark's folder")
        self._left_out: dict[str, str] = {}

    def _check_version(self) -> None:
        if self.protocol_version not in (None, *self._versions):
            known = " or ".join([*self._versions, "null"])
            expected = f"{known} for protocol={self.protocol}"
            raise SettingError("protocol_version", self.protocol_version, expected)

    @property
    def _versions(self) -> tuple[str, ...]:
        return self.protocol_versions.get(self.protocol, ())

    @property
    def follows(self) -> str | None:
        """The release of lmms-eval whose prompt and rule are used; None for other protocols."""
        return self.protocol_version or next(iter(self._versions), None)

    def in_full(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Name the release that is followed; under protocols without one, the setting is left out."""
        others = {key: value for key, value in settings.items() if key != "protocol_version"}
        return others | ({} if self.follows is None else {"protocol_version": self.follows})

    @property
    def skips_errors(self) -> bool:
        return self.on_error == "skip"

    @property
    def left_out(self) -> Mapping[str, str]:
        self.samples()
        return self._left_out

    def leave_out(self, place: str, error: UserError) -> None:
        """Record an invalid entry.

        Raises:
            UserError: if no entry may be left out.
        """
        if not self.skips_errors:
            raise UserError(f"{error}; benchmark.on_error=skip leaves it out") from error
        self._left_out[place] = str(error)

    @contextmanager
    def entry(self, place: str) -> Iterator[None]:
        """Wrap the reading of one entry; an invalid entry is left out."""
        try:
            yield
        except SettingError:  # concerns the benchmark, not the entry
            raise
        except TextError as error:  # a sample does not know where it comes from
            self.leave_out(place, UserError(f"{place}: {error}"))
        except UserError as error:
            self.leave_out(place, error)

    @property
    def folder(self) -> Path:
        return Path(self.data)

    @property
    @abstractmethod
    def source(self) -> Source:
        """Where the samples come from; the official files take precedence over the hub's.

        Raises:
            UserError: if the folder has neither.
        """

    @abstractmethod
    def read(self) -> list[Sample]:
        """Return the samples from ``source``."""

    def parquet_files(self, pattern: str) -> list[Path]:
        """Return the files anywhere in the folder whose path ends with ``pattern``, sorted."""
        return sorted(self.folder.rglob(pattern))

    @property
    def looked_for(self) -> str:
        """The files by which each source is recognized."""
        return self._patterns()

    def nothing_found(self) -> SettingError:
        """Return the error for a folder with neither source."""
        expected = f"a folder with {self._patterns()} ({self.home}; docs/benchmarks.md)"
        return SettingError("benchmark.data", self.data, expected)

    def _patterns(self) -> str:
        return " or ".join(filter(None, (self.question_file, self.parquet)))

    def samples(self) -> Sequence[Sample]:
        return self._samples

    @cached_property
    def _samples(self) -> list[Sample]:
        official = self.counts[self.source]
        samples = self.read()
        if not samples:
            raise UserError(f"{self.folder}: no samples")
        if self.skips_errors:
            samples = self._first_of_each_id(samples)
        check_unique((sample.id for sample in samples), str(self.folder))
        # A bad entry may take no sample with it, or several: both questions about an image of MME.
        most = len(samples) + len(self._left_out)
        if self.check_count and not (len(samples) <= official <= most):
            raise UserError(
                f"{self.folder}: {len(samples)} samples, but the official files have {official}; "
                "benchmark.check_count=false takes them as they are"
            )
        return samples

    def _first_of_each_id(self, samples: Sequence[Sample]) -> list[Sample]:
        first: dict[str, Sample] = {}
        for number, sample in enumerate(samples):
            with self.entry(f"{self.folder}, sample {number}"):
                if sample.id in first:
                    raise UserError(f"{self.folder}, sample {number}: duplicate id {sample.id}")
                first[sample.id] = sample
        return list(first.values())


@dataclass(kw_only=True)
class FileBenchmark(FolderBenchmark):
    """A benchmark in LLaVA's evaluation folder, or in the parquet files of the hub data set.

    Attributes:
        data: the folder: the one in LLaVA's ``playground/data/eval``, or a copy or snapshot of the hub data
            set.
        protocol: whose prompt and rule to use: ``llava`` (its evaluation scripts, the published tables) or
            ``lmms`` (lmms-eval). Either protocol works with either source.
        llava_tokens, lmms_tokens: maximum length of an answer in each protocol. LLaVA's
            ``model_vqa_loader.py`` allows 128; lmms-eval allows what the task sets, or 1,024 by default (its
            LLaVA wrapper).
    """

    protocol: str = "llava"
    protocols: ClassVar[tuple[str, ...]] = ("llava", "lmms")
    llava_tokens: ClassVar[int] = 128
    lmms_tokens: ClassVar[int] = 16

    @property
    def looked_for(self) -> str:
        return f"{self.question_file} (LLaVA's files) or {self.parquet} (the hub's)"

    @property
    def max_new_tokens(self) -> int:
        return self.llava_tokens if self.protocol == "llava" else self.lmms_tokens

    @abstractmethod
    def from_llava(self) -> list[Sample]:
        """Return the samples from LLaVA's evaluation folder."""

    @abstractmethod
    def from_hub(self) -> list[Sample]:
        """Return the samples from the parquet files of the hub data set."""

    @cached_property
    def source(self) -> Source:
        if (self.folder / self.question_file).is_file():
            return "llava"
        if self.parquet_files(self.parquet):
            return "hub"
        raise self.nothing_found()

    def read(self) -> list[Sample]:
        return self.from_llava() if self.source == "llava" else self.from_hub()


def bare_question(prompt: str) -> str:
    """Return a question without the instruction that LLaVA's question files append."""
    return prompt.removesuffix(SHORT_ANSWER)

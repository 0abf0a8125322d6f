"""Get the data of benchmarks and the checkpoints of models from the hub, and check what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import constants

from script_exp.benchmarks.reading.addresses import PLACES
from script_exp.benchmarks.reading.files import FolderBenchmark
from script_exp.errors import SettingError, UserError
from script_exp.results.files import read_json, write_json
from script_exp.upkeep.hub import Offer, Repository, check_space, get, get_into_cache, in_bytes, look_up
from script_exp.upkeep.unpack import unpack

_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("*.safetensors", "*.bin")
_UNPACKED = Path(".cache/unpacked.json")
"""In a benchmark's folder: the sizes of the archives that were unpacked, and removed after that."""


@dataclass(frozen=True)
class Fetch:
    """What is to be got of one repository.

    Attributes:
        name: the benchmark or model that it is for.
        offer: what the hub has.
        folder: where it goes; None for the hub's cache.
        archives: folder in ``folder`` by the pattern of the archives that are unpacked there.
    """

    name: str
    offer: Offer
    folder: Path | None
    archives: dict[str, str]

    @property
    def missing(self) -> dict[str, int]:
        """The files that are not here as a whole, with their sizes."""
        done = self._unpacked()
        return {
            name: size
            for name, size in self.offer.sizes.items()
            if done.get(name) != size and not (self.folder is not None and _has(self.folder / name, size))
        }

    @property
    def space(self) -> int:
        """Bytes that are needed on the disk: for archives twice, until they are removed."""
        packed = [size for name, size in self.missing.items() if self._pattern(name) is not None]
        return sum(self.missing.values()) + sum(packed)

    @property
    def place(self) -> Path:
        """The folder, or the hub's cache."""
        return self.folder or Path(constants.HF_HUB_CACHE)

    def describe(self) -> str:
        """Return what it takes, on one line."""
        offer, missing = self.offer, self.missing
        gated = ", gated" if offer.gated else ""
        return (
            f"{self.name}: {offer.repository.page} (license: {offer.license}{gated}), "
            f"{len(offer.sizes)} files, {in_bytes(sum(offer.sizes.values()))}, of them "
            f"{in_bytes(sum(missing.values()))} to fetch into {self.place}"
        )

    def run(self) -> None:
        """Get what is missing, then unpack the archives.

        Raises:
            UserError: if a file cannot be had, or an archive is damaged or not safe.
        """
        if self.folder is None:
            for name in self.offer.sizes:  # the cache knows what it has
                get_into_cache(self.offer, name)
            return
        for name in self.missing:
            get(self.offer, name, self.folder)
        for pattern, target in self.archives.items():
            self._unpack(self.folder, pattern, self.folder / target)

    def _unpack(self, folder: Path, pattern: str, target: Path) -> None:
        done = self._unpacked()
        names = [
            name
            for name, size in sorted(self.offer.sizes.items())
            if self._pattern(name) == pattern and done.get(name) != size
        ]
        zips = pattern.endswith(".zip")
        for together in [[name] for name in names] if zips else [names] * bool(names):
            unpack([folder / name for name in together], target)
            done |= {name: self.offer.sizes[name] for name in together}
            (folder / _UNPACKED).parent.mkdir(exist_ok=True)
            write_json(folder / _UNPACKED, done)
            for name in together:
                (folder / name).unlink()

    def _pattern(self, name: str) -> str | None:
        return next(
            (pattern for pattern in self.archives if fnmatch(PurePosixPath(name).name, pattern)), None
        )

    def _unpacked(self) -> dict[str, Any]:
        file = None if self.folder is None else self.folder / _UNPACKED
        return dict(read_json(file)) if file is not None and file.exists() else {}


def fetch_benchmark(benchmark: FolderBenchmark) -> Fetch:
    """Look up what a benchmark's data takes; download nothing.

    Raises:
        UserError: if it cannot be had.
    """
    patterns = [*filter(None, (benchmark.parquet, *benchmark.more_files)), *benchmark.archives]
    repository = Repository(PLACES[benchmark.home].name, "dataset", benchmark.revision)
    offer = look_up(repository, lambda name: any(PurePosixPath(name).match(one) for one in patterns))
    return Fetch(benchmark.name, offer, benchmark.folder, dict(benchmark.archives))


def fetch_model(name: str, config: dict[str, Any]) -> list[Fetch]:
    """Look up what a model's checkpoint takes, and the CLIP model that it needs; download nothing.

    Args:
        name: of its file in ``conf/model``.
        config: the contents of that file.

    Raises:
        UserError: if it is not on the hub, or cannot be had.
    """
    ids = [one for one in (config["path"], config["clip"]) if one is not None and one.count("/") == 1]
    if not ids:
        raise SettingError("--model", name, f"a model from the hub; the checkpoint of {name} is here already")
    return [Fetch(name, _checkpoint(Repository(one, "model")), None, {}) for one in ids]


def check_all(fetches: Sequence[Fetch]) -> None:
    """Raise a :class:`UserError` unless all fit on their disks."""
    for place in {fetch.place for fetch in fetches}:
        check_space(place, sum(fetch.space for fetch in fetches if fetch.place == place))


def _checkpoint(repository: Repository) -> Offer:
    """Return the small files and the weights in one format, as a run reads them."""
    offer = look_up(repository, lambda name: _is(name, (*_SMALL_FILES, *_WEIGHTS)))
    formats = [one for one in _WEIGHTS if any(_is(name, (one,)) for name in offer.sizes)]
    if not formats:
        raise UserError(f"{repository.page}: no weights: expected {' or '.join(_WEIGHTS)}")
    wanted = (*_SMALL_FILES, formats[0])
    sizes = {name: size for name, size in offer.sizes.items() if _is(name, wanted)}
    return replace(offer, sizes=sizes)


def _is(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size

"""Where a checkpoint's files are: a local folder, or a hub repository with a folder in the local cache."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from script_exp.errors import SettingError
from script_exp.models.loading.tensors import check_weights

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHTS = ("*.safetensors", "*.bin")
_MIB = 2**20
_READ_IN_FULL = 64 * _MIB


@dataclass(frozen=True)
class Source:
    """A checkpoint's files.

    Attributes:
        setting: key and value that named the checkpoint, for messages.
        folder: where the files are.
        repository: hub id, if the files come from the hub.
    """

    setting: str
    folder: Path
    repository: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the weights are on this machine."""
        return any(any(self.folder.glob(pattern)) for pattern in _WEIGHTS)

    def with_weights(self) -> Path:
        """Return the folder with the weights in it; download them if they come from the hub.

        Raises:
            UserError: if there are no weights, or a file is damaged or truncated.
        """
        if self.repository is not None and not self.has_weights:
            for pattern in _WEIGHTS:
                _download(self.setting, self.repository, [pattern])
                if self.has_weights:
                    break
        check_weights(self.setting, self.folder)
        return self.folder

    def fingerprint(self) -> str:
        """Identify the weights, tokenizer and templates.

        For the hub this is the commit, for a folder a hash. Files up to 64 MiB are read in full. Of larger
        files, the hash covers the size, the first and the last MiB, and 64 KiB of every 4 MiB in between. So
        14 GB of weights need not be read twice, and a tuned projector (8 MiB and more) is noticed.
        """
        if self.repository is not None:
            return f"{self.repository}@{self.folder.name}"
        digest = hashlib.sha256()
        for file in (file for file in sorted(self.folder.iterdir()) if file.is_file()):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}:".encode())
            with file.open("rb") as opened:
                for start, length in _parts_read(size):
                    opened.seek(start)
                    digest.update(opened.read(length))
        return digest.hexdigest()[:16]


def _parts_read(size: int) -> Iterator[tuple[int, int]]:
    """Yield start and length in bytes of the parts that a fingerprint reads of a file."""
    if size <= _READ_IN_FULL:
        yield 0, size
        return
    yield 0, _MIB
    yield from ((start, _MIB // 16) for start in range(_MIB, size - _MIB, 4 * _MIB))
    yield size - _MIB, _MIB


def locate(setting: str, path: str) -> Source:
    """Find the folder ``path``, or the hub repository of that name, without its weights.

    Raises:
        UserError: if it is neither, or the hub is needed and cannot be reached.
    """
    folder, named = Path(path).expanduser(), f"{setting}={path}"
    if folder.is_dir():
        return Source(named, folder)
    if not _HUB_ID.fullmatch(path):
        raise SettingError(setting, path, "a folder with a checkpoint, or the hub id of one; it is neither")
    return Source(named, _download(named, path, _SMALL_FILES), path)


def _download(named: str, repository: str, patterns: list[str]) -> Path:
    """Download the files of a repository that match ``patterns``, unless they are in the local cache."""
    setting, _, value = named.partition("=")
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")
        hint = "HF_HUB_OFFLINE=0 allows the download" if offline else "the hub does not answer"
        raise SettingError(
            setting, value, f"a folder, or a hub id in the local cache; it is neither ({hint})"
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise SettingError(setting, value, f"a folder or a hub id ({error})") from error

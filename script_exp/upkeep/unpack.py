"""Unpack archives of videos: no file outside the folder, no bomb, and all of an archive or nothing."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, cast

from script_exp.errors import UserError

# Videos hardly shrink. An archive that grows by more than this, or has more files, is not one of videos.
_MOST_GROWTH, _LEAST_LIMIT = 10, 100 * 2**20
_MOST_FILES = 1_000_000
_PIECE = 2**20


def unpack(parts: Sequence[Path], folder: Path) -> int:
    """Unpack an archive into ``folder`` and return its number of files.

    The files are written to a folder beside it first, so that a bad archive leaves nothing. A folder in the
    archive with the name of ``folder`` is taken as ``folder`` itself.

    Args:
        parts: a zip file, or the parts of a tar file in order.
        folder: made if it is missing.

    Raises:
        UserError: if it is damaged, has links or devices, leads out of the folder, or unpacks to far more
            than videos would.
    """
    aside = folder.with_name(f".unpacking-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    limit = max(_MOST_GROWTH * sum(part.stat().st_size for part in parts), _LEAST_LIMIT)
    members = _zipped if zipfile.is_zipfile(parts[0]) else _tarred
    names: list[PurePosixPath] = []
    try:
        for name, opened in members(parts):
            place = _inside(name, folder.name, parts[0])
            names.append(place)
            limit -= _write(opened, aside / place, limit, parts[0])
            if len(names) > _MOST_FILES:
                raise UserError(f"{parts[0]}: more than {_MOST_FILES:,} files; not unpacked")
        for place in names:
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            (aside / place).replace(target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{parts[0]}: a damaged archive ({error}); remove it and fetch it again") from error
    except OSError as error:
        raise UserError(f"{parts[0]}: cannot be unpacked into {folder} ({error.strerror})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(names)


def _inside(name: str, folder: str, archive: Path) -> PurePosixPath:
    """Return the place of a member in the folder.

    Raises:
        UserError: if its name leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"{archive}: {name!r} leads out of the folder; not unpacked")
    return path.relative_to(folder) if path.parts[0] == folder and len(path.parts) > 1 else path


def _write(opened: Callable[[], IO[bytes] | None], path: Path, limit: int, archive: Path) -> int:
    """Write a member and return its size; what it claims as its size does not count."""
    source = opened()
    if source is None:
        raise UserError(f"{archive}: {path.name!r} is a link or a device; not unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with source, path.open("xb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise UserError(f"{archive}: unpacks to far more than videos would; not unpacked")
            file.write(piece)
    return size


def _zipped(parts: Sequence[Path]) -> Iterator[tuple[str, Callable[[], IO[bytes] | None]]]:
    with zipfile.ZipFile(parts[0]) as archive:
        for member in archive.infolist():
            is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
            if not member.is_dir():
                yield member.filename, lambda one=member, link=is_link: None if link else archive.open(one)  # type: ignore[misc]


def _tarred(parts: Sequence[Path]) -> Iterator[tuple[str, Callable[[], IO[bytes] | None]]]:
    with ExitStack() as files:
        joined = _Joined([files.enter_context(part.open("rb")) for part in parts])
        archive = files.enter_context(tarfile.open(fileobj=cast(IO[bytes], joined), mode="r|*"))
        for member in archive:
            if not member.isdir():
                yield member.name, lambda one=member: archive.extractfile(one) if one.isfile() else None  # type: ignore[misc]


class _Joined:
    """Files one after the other, as one that is read from its start."""

    def __init__(self, files: Sequence[IO[bytes]]) -> None:
        self._files = list(files)

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        pieces = []
        while self._files and size > 0:
            piece = self._files[0].read(size)
            if piece:
                pieces.append(piece)
                size -= len(piece)
            else:
                del self._files[0]
        return b"".join(pieces)

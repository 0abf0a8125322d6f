"""Read the files of benchmarks: nothing is unpacked, no path leaves its folder, errors name the place."""

from __future__ import annotations

import csv
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image

from script_exp.benchmarks.reading.images import NOT_AN_IMAGE, decoded_image, open_image
from script_exp.errors import DataError, UserError

_READING = threading.Lock()
_NOT_JSON = (ValueError, RecursionError)  # also a number of over 4,300 digits, and lists in lists in lists

_KEYS_SHOWN = 12
_MOST_SHOWN = 200  # characters


def refuse(_: str, error: UserError) -> None:
    """Raise the error of an invalid line; a benchmark may leave the line out instead."""
    raise error


def read_jsonl(
    file: Path, bad_line: Callable[[str, UserError], None] = refuse
) -> list[tuple[str, dict[str, Any]]]:
    """Return (file and line, object) of a file with one JSON object per line; empty lines are skipped.

    Args:
        file: the file to read.
        bad_line: called with file and line and the error for each line that is not a JSON object.

    Raises:
        UserError: if the file is missing; for a bad line, if ``bad_line`` raises it.
    """
    entries = []
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            entry = json.loads(line)
        except _NOT_JSON as error:
            bad_line(place, UserError(f"{place}: not JSON ({error})"))
            continue
        try:
            entries.append((place, as_object(entry, place)))
        except UserError as error:
            bad_line(place, error)
    return entries


def read_json(file: Path) -> Any:
    """Return the contents of a JSON file.

    Raises:
        UserError: if the file is missing or not JSON.
    """
    try:
        return json.loads(_read_text(file))
    except _NOT_JSON as error:
        raise UserError(f"{file}: not JSON ({error})") from error


def as_object(content: Any, place: str) -> dict[str, Any]:
    """Return ``content`` if it is a JSON object.

    Raises:
        UserError: if it is anything else; the message names ``place``.
    """
    if not isinstance(content, dict):
        raise UserError(f"{place}: expected a JSON object, got {type(content).__name__}")
    return content


def read_entries(file: Path, key: str | None = None) -> list[tuple[str, Any]]:
    """Return (file and number, entry) of a JSON list, or of the list ``key`` of a JSON object.

    The entries are not checked: :func:`value_of` refuses one that is not an object, under its own place.

    Raises:
        UserError: if the file is missing, or there is no list.
    """
    content = read_json(file)
    entries = content if key is None else value_of(content, key, str(file), list)
    if not isinstance(entries, list):
        raise UserError(f"{file}: expected a JSON list, got {type(entries).__name__}")
    return [(f"{file}, entry {number}", entry) for number, entry in enumerate(entries)]


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
        UserError: if the file is missing or not text.
    """
    return [line for line in _read_text(file).split("\n") if line.strip()]


def read_tsv(
    file: Path, bad_line: Callable[[str, UserError], None] = refuse
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, row) of a tab-separated table with a header line; cells may be quoted.

    Args:
        file: the file to read.
        bad_line: called with file and line and the error for each row with more or fewer cells than names.

    Raises:
        UserError: if the file is missing or not text; for a bad line, if ``bad_line`` raises it.
    """
    limit = csv.field_size_limit(2**31 - 1)  # a cell may hold an image
    number = 0
    try:
        _check_regular(file)
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, delimiter="\t")
            names = next(lines, [])
            for cells in lines:
                number = lines.line_num
                place = f"{file}, line {number}"
                if len(cells) == len(names):
                    yield place, dict(zip(names, cells, strict=True))
                else:
                    why = f"{place}: {len(cells)} cells, but line 1 names {len(names)} columns"
                    bad_line(place, UserError(why))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}, after line {number}: cannot be read ({error})") from error
    finally:
        csv.field_size_limit(limit)


def value_of(entry: Mapping[str, Any], key: str, place: str, kind: type | tuple[type, ...] = str) -> Any:
    """Return ``entry[key]``, which has to be a ``kind``.

    Raises:
        UserError: if it is missing or anything else, or if ``entry`` is not an object; the message names the
            ``place``, a file and line.
    """
    if not isinstance(entry, Mapping):
        raise UserError(f"{place}: expected an object with {key!r}, got {_shown(entry)}")
    if key not in entry:
        more = f" and {len(entry) - _KEYS_SHOWN} more" if len(entry) > _KEYS_SHOWN else ""
        names = ", ".join(map(str, itertools.islice(entry, _KEYS_SHOWN)))
        raise UserError(f"{place}: no {key!r} among {names or 'its keys'}{more}")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise UserError(f"{place}: {key}={_shown(value)}: expected {names}")
    return value


def texts_of(entry: Mapping[str, Any], key: str, place: str) -> list[str]:
    """Return the list of texts ``entry[key]``, which may be empty.

    Raises:
        UserError: if it is missing or anything else; the message names the ``place``.
    """
    values: list[Any] = value_of(entry, key, place, list)
    for value in values:
        if not isinstance(value, str):
            raise UserError(f"{place}: {key}: {_shown(value)} among them: expected a list of texts")
    return values


def _shown(value: object) -> str:
    """Return a value for a message, on one line and not endless."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def within(folder: Path, relative: str, place: str) -> Path:
    """Return the path ``relative`` inside ``folder``; annotation files must not lead out of the folder.

    Raises:
        UserError: if the path is empty or leads out; links that the user put into the folder are followed.
    """
    inside = os.path.normpath(relative)
    if inside == os.curdir:
        raise UserError(f"{place}: {_shown(relative)}: expected the name of a file in {folder}")
    if PurePath(inside).is_absolute() or inside.split(os.sep, 1)[0] == os.pardir:
        raise UserError(f"{place}: {_shown(relative)} leads out of {folder}")
    return folder / inside


def image_file(folder: Path, relative: str, place: str) -> Callable[[], Image.Image]:
    """Return a loader of an RGB image in ``folder``; a missing or broken one is a :class:`DataError`."""
    path = within(folder, relative, place)
    return partial(open_image, path)


class ParquetTable:
    """The rows of parquet files; the images stay in the files until they are loaded."""

    def __init__(self, files: Sequence[Path], columns: Iterable[str], image: str | None = None) -> None:
        """Read ``columns``; ``image`` names the column of ``{"bytes": ..., "path": ...}``.

        Raises:
            UserError: if a file is damaged or lacks a column.
        """
        self._image = image
        self._rows: list[dict[str, Any]] = []
        self._places: list[tuple[Path, int, int]] = []
        names = list(columns)
        for path in sorted(files):
            table = _open_parquet(path)
            there = table.schema_arrow.names
            lacking = {*names, *([image] if image else [])} - set(there)
            if lacking:
                raise UserError(f"{path}: no column {', '.join(sorted(lacking))} among {', '.join(there)}")
            try:
                self._rows += table.read(columns=names).to_pylist()
            except (OSError, pyarrow.ArrowException) as error:
                raise UserError(f"{path} is damaged ({error})") from error
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                self._places += [(path, group, row) for row in range(count)]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any], Callable[[], Image.Image]]]:
        """Yield (file and row, row, loader of its image)."""
        for index, row in enumerate(self._rows):
            yield self._place(index), row, self._loader(index)

    def _place(self, index: int) -> str:
        path, group, row = self._places[index]
        return f"{path}, row group {group}, row {row}"

    def _loader(self, index: int) -> Callable[[], Image.Image]:
        path, group, row = self._places[index]

        def load() -> Image.Image:
            try:
                with _READING:  # threads that need the same row group read it once
                    column = _image_column(path, group, str(self._image))
                return decoded_image(column[row].as_py()["bytes"])
            except (*NOT_AN_IMAGE, pyarrow.ArrowException) as error:
                raise DataError(f"{self._place(index)}: the image does not decode ({error})") from error

        return load


def check_unique(ids: Iterable[str], place: str) -> None:
    """Raise a :class:`UserError` that names the ids that occur more than once."""
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        raise UserError(f"{place}: duplicate ids {', '.join(twice[:5])}{more}")


@lru_cache(maxsize=4)  # neighboring samples share a row group
def _image_column(path: Path, group: int, column: str) -> Any:
    return _open_parquet(path).read_row_group(group, columns=[column]).column(column).combine_chunks()


def _open_parquet(path: Path) -> Any:
    try:
        _check_regular(path)
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} is not a parquet file ({error})") from error


def _read_text(file: Path) -> str:
    try:
        _check_regular(file)
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error})") from error


def _check_regular(file: Path) -> None:
    """Raise an :class:`OSError` for a folder, pipe or device; to open a pipe would wait forever."""
    if not file.is_file() and file.exists():
        raise OSError("it is not a file")

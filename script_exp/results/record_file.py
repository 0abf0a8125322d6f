"""Read the lines of ``samples.jsonl`` and ``skipped.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.checked import problem_of
from script_exp.results.files import parse_json, read_bytes
from script_exp.results.record import SampleRecord


def read_records(file: Path, known: Set[str]) -> dict[str, SampleRecord]:
    """Return the records by id, in the order of their lines.

    Args:
        file: ``samples.jsonl``.
        known: the ids of the benchmark's samples.

    Raises:
        UserError: if a line is damaged, repeats a sample, or has a sample that is not in ``known``.
    """
    records: dict[str, SampleRecord] = {}
    remedy = f"remove {file.parent} to start over"
    for place, values in read_lines(file, remedy):
        try:
            record = SampleRecord(**values)
        except TypeError as error:  # a field too many, or too few
            raise UserError(f"{place} is damaged ({error}); {remedy}") from error
        if record.id not in known:
            raise UserError(f"{place}: unknown sample {record.id!r}; {remedy}")
        if record.id in records:
            raise UserError(f"{place}: duplicate sample {record.id!r}; {remedy}")
        records[record.id] = record
    return records


def read_lines(file: Path, remedy: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of every line; a value that is there has the type of its field.

    Raises:
        FileNotFoundError: if there is no file.
        UserError: if a line is damaged; the message ends with ``remedy``.
    """
    for number, line in enumerate(read_bytes(file).split(b"\n"), start=1):
        if not line:
            continue
        place = f"{file}, line {number}"
        try:
            values = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place} is damaged ({error}); {remedy}") from error
        problem = problem_of(values, SampleRecord, partly=True)
        if problem is None and not 0 <= values.get("score", 0) <= 1:
            problem = f"score={values['score']}: expected a number from 0 to 1"
        if problem is not None:
            raise UserError(f"{place} is damaged ({problem}); {remedy}")
        yield place, values


def read_skipped(file: Path) -> dict[str, str]:
    """Return why samples were skipped, by id; empty if there is no file.

    Raises:
        UserError: if the file is damaged.
    """
    remedy = "remove the folder to run this cell again"
    try:
        entries = [parse_json(line) for line in read_bytes(file).split(b"\n") if line]
        reasons = {entry["id"]: entry["why"] for entry in entries}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); {remedy}") from error
    if not all(isinstance(word, str) for entry in reasons.items() for word in entry):
        raise UserError(f"{file} is damaged (not ids and reasons); {remedy}")
    return reasons

"""A table as in a paper, independent of the format that it is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        text: the main text; empty if nothing was measured.
        small: what follows in small type, such as an interval.
        place: 1 for the best of its group, 2 for the second, 0 for all others.
        link: where the text leads, in HTML.
    """

    text: str = ""
    small: str = ""
    place: int = 0
    link: str = ""


@dataclass(frozen=True)
class Row:
    """One row; ``reference`` rows are numbers published by others, printed in gray."""

    entries: list[Entry]
    reference: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under one heading, such as those of one budget.

    Attributes:
        heading: what they have in common.
        rows: the rows.
        kind: what a page can choose groups by: names and values of data attributes in HTML.
    """

    heading: str
    rows: list[Row]
    kind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: stem of its file names.
        title: what it shows.
        columns: the column headings.
        groups: the rows.
        notes: sentences below it.
        data: the same numbers, not rounded, one row per entry; the contents of the CSV file.
        texts: number of text columns at the left.
    """

    name: str
    title: str
    columns: list[str]
    groups: list[Group]
    data: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    texts: int = 1


def without_empty(table: Table) -> Table:
    """Leave out the columns in which nothing was measured, such as times with ``latency=off``."""
    rows = [row.entries for group in table.groups for row in group.rows]
    kept = [
        place
        for place in range(len(table.columns))
        if place < table.texts or any(row[place].text or row[place].small for row in rows)
    ]
    groups = [
        Group(
            group.heading,
            [Row([row.entries[place] for place in kept], row.reference) for row in group.rows],
            group.kind,
        )
        for group in table.groups
    ]
    return replace(table, columns=[table.columns[place] for place in kept], groups=groups)


def mark_best(entries: Sequence[Entry], values: Sequence[float | None]) -> list[Entry]:
    """Mark the best and the second best entries of a column; values that print the same are tied.

    Args:
        entries: the entries of one column and group.
        values: what to rank the entries by, larger is better; None is not ranked.
    """
    printed = [None if value is None or pd.isna(value) else round(value, 1) for value in values]
    ranked = sorted({value for value in printed if value is not None}, reverse=True)
    if sum(value is not None for value in printed) < 2:
        return list(entries)
    places = {value: index + 1 for index, value in enumerate(ranked[:2])}
    return [
        entry if value is None else replace(entry, place=places.get(value, 0))
        for entry, value in zip(entries, printed, strict=True)
    ]

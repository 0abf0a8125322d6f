"""Leaderboards of the site: the cells of one setup and benchmark, their places, and the points to plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from script_exp.analysis.accuracy import (
    INTERVAL,
    MORE,
    accuracy_entry,
    budget_text,
    by_budget,
    column_heading,
    exceeds,
    heading,
)
from script_exp.analysis.cells import Cells, column_notes, rank, setup_title
from script_exp.analysis.figures.cost import prefill_percent
from script_exp.analysis.table import Entry, Group, Row, Table, mark_best, without_empty


@dataclass(frozen=True)
class Board:
    """The leaderboard of one setup and benchmark.

    Attributes:
        table: its rows, grouped by budget; methods with more tokens than the budget are groups of their own.
            The kind of a group has its ``model``, ``benchmark``, ``budget`` and ``tokens``.
        points: of each row, in the order of the table, what is plotted; None where nothing was measured.
        axes: the labels of the plots' axes.
        units: what a cost is counted in.
    """

    table: Table
    points: list[dict[str, Any]]
    axes: dict[str, str]
    units: dict[str, str]


WITHIN, ABOVE = "within the budget", "more than the budget"


def boards(cells: Cells, pages: Mapping[str, str]) -> list[Board]:
    """Return a board for every setup and benchmark with an accuracy.

    Args:
        cells: the cells.
        pages: the address of every method's page, for links.
    """
    made = []
    for setup in cells.setups():
        for column, group in setup[setup["accuracy"].notna()].groupby("column", sort=True):
            made.append(_board(group, str(column), pages))
    return made


def places(values: Sequence[float | None]) -> list[int | None]:
    """Return the place of every value, the largest first; values that print the same share one.

    None is not ranked.
    """
    shown = [None if value is None else round(value, 1) for value in values]
    return [
        None if one is None else 1 + sum(other is not None and other > one for other in shown)
        for one in shown
    ]


def _board(cells: pd.DataFrame, column: str, pages: Mapping[str, str]) -> Board:
    metric = column_heading(column, cells)[1]
    giga = cells["prefill_tflops"].max() < 1
    factor, unit = (1000, "GFLOPs") if giga else (1, "TFLOPs")
    costs = pd.DataFrame({"flops": factor * cells["prefill_tflops"], "prefill": prefill_percent(cells)})
    cells = cells.join(costs)
    groups, points = [], []
    for title, tokens, group in _groups(cells):
        first = group.iloc[0]
        budget = "unpruned" if pd.isna(first["budget"]) else budget_text(first["budget"])
        kind = {"model": str(first["model"]), "benchmark": column, "budget": budget, "tokens": tokens}
        rows = _rows(group, tokens == WITHIN, pages)
        groups.append(Group(title, rows, kind))
        points += [
            _point(cell, budget, tokens) | {"place": f"{row.entries[1].text} {row.entries[1].small}".strip()}
            for (_, cell), row in zip(group.iterrows(), rows, strict=True)
        ]
    table = Table(
        name="leaderboard",
        title=f"{column} ({setup_title(cells)})",
        columns=[
            "Method", "Place", f"Accuracy, {metric}", "Retained, %", "Tokens", f"Prefill, {unit}", "KV, MiB",
            "LLM prefill, ms", "Speed-up", "Seeds",
        ],
        groups=groups,
        data=pd.DataFrame(),
        notes=[
            "Place: by accuracy, among the methods that keep this budget in the mean over the LLM's layers. "
            "Retained: share of the unpruned accuracy. Tokens: visual tokens, mean over the LLM's layers.",
            INTERVAL,
            *column_notes(cells),
        ],
    )  # fmt: skip
    axes = {
        "accuracy": f"accuracy, {metric}",
        "tokens": "visual tokens, mean over the LLM's layers",
        "flops": f"prefill, {unit}",
        "prefill": "LLM prefill, % of unpruned, measured in turn",
    }
    units = {"tokens": "tokens", "flops": unit, "prefill": "% of the unpruned prefill"}
    return Board(without_empty(table), points, axes, units)


def _groups(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield heading, kind of tokens and cells of every group; the best methods first."""
    for _, group in by_budget(cells):
        more = exceeds(group)
        for title, tokens, own in ((heading(group), WITHIN, group[~more]), (MORE, ABOVE, group[more])):
            if len(own):
                order = own.assign(_rank=own["label"].map(rank)).sort_values(
                    ["accuracy", "_rank"], ascending=[False, True]
                )
                whole = title if tokens == WITHIN else f"{heading(group)}. {title}: not ranked"
                yield whole, tokens, order.drop(columns="_rank")


def _rows(cells: pd.DataFrame, ranked: bool, pages: Mapping[str, str]) -> list[Row]:
    pruned = ranked and cells["budget"].notna().all()
    values = [
        float(cell["accuracy"]) if pruned and not cell["skipped"] else None for _, cell in cells.iterrows()
    ]
    among = sum(value is not None for value in values)
    accuracies = mark_best([accuracy_entry(cell) for _, cell in cells.iterrows()], values)
    rows = []
    for (_, cell), place, accuracy in zip(cells.iterrows(), places(values), accuracies, strict=True):
        entries = [
            Entry(cell["label"], link=pages[cell["pruner"]]),
            Entry() if place is None else Entry(str(place), f"of {among}"),
            accuracy,
            _number(cell["retained"], "{:.1f}"),
            _number(cell["layer_average"], "{:.0f}"),
            _number(cell["flops"], "{:.2f}"),
            _number(cell["kv_mib"], "{:.2f}"),
            _number(cell["llm_prefill_ms"], "{:.1f}"),
            _number(cell["prefill_speedup"], "{:.2f}×"),
            Entry(str(cell["seeds"])),
        ]
        rows.append(Row(entries))
    return rows


def _number(value: float, template: str) -> Entry:
    return Entry() if pd.isna(value) else Entry(template.format(value))


def _point(cell: pd.Series, budget: str, tokens: str) -> dict[str, Any]:
    numbers = {
        name: None if pd.isna(cell[column]) else round(float(cell[column]), 6)
        for name, column in (
            ("accuracy", "accuracy"), ("low", "low"), ("high", "high"), ("tokens", "layer_average"),
            ("flops", "flops"), ("prefill", "prefill"), ("ms", "llm_prefill_ms"),
        )
    }  # fmt: skip
    return numbers | {
        "label": str(cell["label"]),
        "method": str(cell["pruner"]),
        "column": str(cell["column"]),
        "budget": budget,
        "more": tokens == ABOVE,
        "skipped": bool(cell["skipped"]),
        "device": str(cell["device"]),
    }

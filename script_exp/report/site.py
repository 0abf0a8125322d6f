"""Write the static site: leaderboards with plots, a page per method, and a page of published numbers.

Plots are drawn in the browser by Observable Plot (``plot.min.js``, on ``d3.min.js``; both as released, with
the ISC license in ``d3_and_plot_LICENSE.txt``), from ``boards.js``. No page loads anything from outside.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from script_exp.analysis.accuracy import budget_text, tokens_text
from script_exp.analysis.cells import Cells, rank
from script_exp.analysis.published import References, load_published
from script_exp.analysis.table import Entry, Group, Row, Table
from script_exp.report.board import Board, boards
from script_exp.report.images import Image, cost_images
from script_exp.report.made_by import command
from script_exp.report.page import caveats_of, facts_of
from script_exp.report.provenance import provenance_tables
from script_exp.report.sheets import Sheets
from script_exp.report.templates import render, source
from script_exp.results.files import write_atomically

_ASSETS = ("d3.min.js", "plot.min.js", "d3_and_plot_LICENSE.txt", "sort_and_filter.js", "site.js")


@dataclass(frozen=True)
class Site:
    """What the site shows.

    Attributes:
        cells: the runs, grouped into cells; at least one has an accuracy.
        place: where the runs were read from; paths are relative to it.
        command: the command that makes the site.
        sheets: what docs/methods.md says about the methods.
        pictures: of each method, pictures of what it kept.
        no_pictures: of each method, a sentence for everything that they cannot show.
        problems: a sentence for everything that was left out.
    """

    cells: Cells
    place: str
    command: str
    sheets: Sheets = field(default_factory=Sheets)
    pictures: dict[str, list[Image]] = field(default_factory=dict)
    no_pictures: dict[str, list[str]] = field(default_factory=dict)
    problems: Sequence[str] = ()


def write_site(site: Site, folder: Path) -> list[Path]:
    """Write all files of the site to a folder, and return their paths."""
    pages = addresses(sorted(set(site.cells.runs["pruner"]), key=rank))
    made = boards(site.cells, pages)
    files = {f"assets/{name}": source(name) for name in _ASSETS}
    files["assets/site.css"] = source("page.css") + source("site.css")
    files["assets/boards.js"] = _boards_script(made, pages)
    files["index.html"] = _index(site, made, pages)
    files["published.html"] = render("site_published.html", root="", plots=False, tables=published_tables())
    for name, page in pages.items():
        files[page] = _method(site, name, made, pages)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / path, text)
    return [folder / path for path in files]


def addresses(names: Sequence[str]) -> dict[str, str]:
    """Return the address of every method's page; no two are the same, whatever the names hold."""
    pages, seen = {}, Counter[str]()
    for name in names:
        stem = re.sub(r"[^a-z0-9_-]+", "_", name.lower())[:60]
        seen[stem] += 1
        pages[name] = f"methods/{stem}{'' if seen[stem] == 1 else f'~{seen[stem]}'}.html"
    return pages


def published_tables() -> list[Table]:
    """Return a table of published numbers per model: methods with their source, against benchmarks."""
    tables = []
    for model, frame in load_published().groupby("model", sort=False):
        columns = list(dict.fromkeys(frame["benchmark"]))
        references = References(frame.assign(column=frame["benchmark"]), columns)
        budgets = [float("nan"), *sorted(frame["budget"].dropna().unique(), reverse=True)]
        groups = [
            Group(
                _published_heading(frame, budget),
                [
                    Row([Entry(name), *map(Entry, values)], reference=True)
                    for name, values in references.rows(budget)
                ],
            )
            for budget in budgets
        ]
        sources = enumerate(frame["source"].unique(), start=1)
        notes = [f"[{number}] {said}" for number, said in sources]
        tables.append(Table("published", f"{model}, published", ["Method", *columns], groups, frame, notes))
    return tables


def _published_heading(frame: pd.DataFrame, budget: float) -> str:
    if pd.isna(budget):
        return "Unpruned"
    (tokens,) = frame[frame["budget"] == budget]["tokens"].unique()
    return tokens_text(budget) + ("" if tokens == budget else f" per crop, {tokens} in total")


def _index(site: Site, made: Sequence[Board], pages: dict[str, str]) -> str:
    environments, runs = provenance_tables(site.cells.runs, site.place)
    kinds = [group.kind for board in made for group in board.table.groups]
    return render(
        "site_index.html",
        root="",
        plots=True,
        site=site,
        facts=dict(facts_of(site.cells)),
        caveats=caveats_of(site.cells),
        partial=bool(site.cells.runs["partial"].any()),
        boards=made,
        choices={key: list(dict.fromkeys(kind[key] for kind in kinds)) for key in kinds[0]},
        timed=any(point["prefill"] is not None for board in made for point in board.points),
        images=cost_images(site.cells),
        methods=_method_table(site, made, pages),
        environments=environments,
        runs=runs,
    )


def _method_table(site: Site, made: Sequence[Board], pages: dict[str, str]) -> Table:
    """Return the list of methods, with the best place and the number of runs of each."""
    best: dict[str, tuple[int, str]] = {}
    for board in made:
        for point in board.points:
            if point["place"]:
                place, _, of = point["place"].partition(" ")
                one = (int(place), f"{of} at {point['budget']} on {point['column']}")
                best[point["method"]] = min(best.get(point["method"], one), one, key=lambda found: found[0])
    counts = site.cells.runs["pruner"].value_counts()
    rows = [
        Row(
            [
                Entry(name, link=page),
                Entry(str(best[name][0]), best[name][1]) if name in best else Entry(),
                Entry(str(counts[name])),
            ]
        )
        for name, page in pages.items()
    ]
    return Table("methods", "Methods", ["Method", "Best place", "Runs"], [Group("", rows)], pd.DataFrame())


def _rows(table: Table) -> list[Row]:
    return [row for group in table.groups for row in group.rows]


def _method(site: Site, name: str, made: Sequence[Board], pages: dict[str, str]) -> str:
    own = site.cells.runs[site.cells.runs["pruner"] == name]
    environments, runs = provenance_tables(own, site.place)

    def page_of(other: str) -> str | None:
        return f"../{pages[other]}" if other in pages else None

    tables = [(number, _place_table(board, name)) for number, board in enumerate(made)]
    return render(
        "site_method.html",
        root="../",
        plots=True,
        sheets_are_there=site.sheets.there,
        method={
            "name": name,
            "facts": site.sheets.facts(name, page_of),
            "sheet": site.sheets.sheet(name, page_of),
            "tables": [(number, table) for number, table in tables if table.groups[0].rows],
            "pictures": site.pictures.get(name, []),
            "no_pictures": site.no_pictures.get(name, []),
            "commands": _command_table(own),
            "environments": environments,
            "runs": runs,
        },
    )


def _place_table(board: Board, name: str) -> Table:
    """Return the rows of one method, with the heading of their group as the first column."""
    headings = [group.heading for group in board.table.groups for _ in group.rows]
    rows = [
        Row([Entry(heading), *(replace(entry, link="") for entry in row.entries)])
        for heading, row, point in zip(headings, _rows(board.table), board.points, strict=True)
        if point["method"] == name
    ]
    columns = ["Budget", *board.table.columns]
    return replace(board.table, columns=columns, groups=[Group("", rows)], texts=2)


def _command_table(runs: pd.DataFrame) -> Table:
    order = runs.sort_values(
        ["model", "column", "budget", "label", "seed"], ascending=[True, True, False, True, True]
    )
    rows = []
    for _, run in order.iterrows():
        budget = "unpruned" if pd.isna(run["budget"]) else budget_text(run["budget"])
        accuracy = "" if pd.isna(run["accuracy"]) else f"{run['scale'] * run['accuracy']:.2f}"
        made_by = command(run)
        said = f"{run['place']}: its config.yaml has the settings" if made_by is None else made_by
        rows.append(Row([Entry(budget), Entry(str(run["seed"])), Entry(said), Entry(accuracy)]))
    return Table(
        "commands",
        "Commands",
        ["Budget", "Seed", "Command", "Accuracy"],
        [Group("", rows)],
        pd.DataFrame(),
        [
            "One command per run; a number of a method that draws is the mean over its seeds. Settings that "
            "conf/ has are left out. A result does not record the batch size and a model's prompt format: if "
            "they were changed, only the config.yaml of the run says so."
        ],
        texts=3,
    )  # fmt: skip


def _boards_script(made: Sequence[Board], pages: dict[str, str]) -> str:
    """Return the points of all boards as a script: a page that is opened from a disk may not read files."""
    shown: list[dict[str, Any]] = [
        {
            "title": board.table.title,
            "axes": board.axes,
            "units": board.units,
            "points": [point | {"page": pages[point["method"]]} for point in board.points],
        }
        for board in made
    ]
    return f"const BOARDS = {json.dumps(shown, allow_nan=False)};\n"

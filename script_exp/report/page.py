"""Fill the page's template with the tables and images, its style and its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from script_exp.analysis.accuracy import budget_text
from script_exp.analysis.cells import Cells, rank
from script_exp.analysis.table import Table
from script_exp.report.images import Image
from script_exp.report.provenance import provenance_tables
from script_exp.report.templates import render, source
from script_exp.results.read import draws
from script_exp.tiny import EMBEDDED

_SECTIONS = {"accuracy": "Accuracy", "by_budget": "Accuracy", "ablation": "Accuracy", "efficiency": "Cost"}
"""Section of a table by its name; all other tables are tests."""
_TESTS = "Significance"


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        cells: the runs, grouped into cells.
        tables: all tables of the cells.
        place: where the runs were read from; paths on the page are relative to it.
        command: the command that makes the page.
        figures: figures of the same numbers.
        no_figures: a sentence for each kind of figure that cannot be drawn.
        pictures: pictures of what was kept of single samples.
        no_pictures: a sentence for everything that they cannot show.
        problems: a sentence for everything that was left out.
    """

    cells: Cells
    tables: Sequence[Table]
    place: str
    command: str
    figures: Sequence[Image] = ()
    no_figures: Sequence[str] = ()
    pictures: Sequence[Image] = ()
    no_pictures: Sequence[str] = ()
    problems: Sequence[str] = ()


def report_page(report: Report) -> str:
    """Return the page as HTML; text from runs is escaped, and the content policy forbids loading anything."""
    script = f"\n{source('sort_and_filter.js')}\n"  # as in the element: the policy allows its hash
    environments, runs = provenance_tables(report.cells.runs, report.place)
    return render(
        "page.html",
        report=report,
        style=Markup(source("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        facts=dict(facts_of(report.cells)),
        sections=_sections(report.tables),
        caveats=caveats_of(report.cells, report.tables),
        environments=environments,
        runs=runs,
    )


def _sections(tables: Sequence[Table]) -> dict[str, list[Table]]:
    """Group the tables by section, in reading order."""
    sections: dict[str, list[Table]] = {}
    for table in tables:
        sections.setdefault(_SECTIONS.get(table.name, _TESTS), []).append(table)
    order = [*dict.fromkeys(_SECTIONS.values()), _TESTS]
    return {title: sections[title] for title in order if title in sections}


def facts_of(cells: Cells) -> Iterator[tuple[str, str]]:
    """Yield the facts of the overview: a name and a few words each."""
    runs = cells.runs
    pruned = runs[runs["budget"].notna()]
    dates = sorted(runs["finished"].str.slice(0, 10))
    dirty = int(runs["dirty"].sum())
    commits = runs["commit"].nunique()
    changed = f", {dirty} of {len(runs)} runs with uncommitted changes" if dirty else ""
    yield "Runs", f"{len(runs):,} in {_count(len(cells.frame), 'cell')}"
    yield "Models", _listed(sorted(set(runs["model"])))
    yield "Benchmarks", _listed(sorted(set(runs["column"])))
    yield "Methods", _listed(sorted(set(runs["pruner"]), key=rank))
    if len(pruned):
        budgets = sorted(set(pruned["budget"]), reverse=True)
        yield "Budgets", _listed([budget_text(budget) for budget in budgets])
    yield "Seeds", _listed([str(seed) for seed in sorted(set(runs["seed"]))])
    yield "Devices", _listed(sorted(set(runs["device"].dropna())))
    yield "Dates", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    yield "Code", (_count(commits, "commit") if commits else "not from a git checkout") + changed


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str], most: int = 12) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


@dataclass(frozen=True)
class Caveats:
    """Which warnings apply to these runs."""

    embedded: bool
    random_weights: bool
    limited: bool
    one_seed: bool
    published: bool
    timed: bool
    tested: bool


def caveats_of(cells: Cells, tables: Sequence[Table] = ()) -> Caveats:
    """Return the warnings that apply to the cells, and to these tables of them."""
    runs = cells.runs
    return Caveats(
        embedded=bool(runs["checkpoint"].isin(EMBEDDED).any()),
        random_weights=bool((runs["weights"] == "random").any()),
        limited=bool(runs["limit"].notna().any()),
        one_seed=bool((draws(cells.frame) & (cells.frame["seeds"] == 1)).any()),
        published=any(row.reference for table in tables for group in table.groups for row in group.rows),
        timed=bool(pd.notna(runs["ttft_ms"]).any()),
        tested=_TESTS in _sections(tables),
    )

"""Accuracy tables: over benchmarks, as in the papers, and by budget for one benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from script_exp.analysis.cells import Cells, column_notes, is_main, rank, setup_title
from script_exp.analysis.published import reference_rows
from script_exp.analysis.table import Entry, Group, Row, Table, mark_best, without_empty
from script_exp.benchmarks import METRICS
from script_exp.results.read import draws

INTERVAL = (
    "±: half of the 95 % interval, over units (the questions on one image are one unit). With several seeds "
    "it includes Student's t interval over the seeds. "
    "In simulations with 5 to 500 units it covers the truth in about 95 % of the cases, at worst in 92 % for "
    "accuracies of 50 to 90 %, 89 % at 95 % and 86 % at 99 %."
)

MORE = "More tokens than the budget, mean over the LLM's layers"
"""Heading of the methods that are not ranked with the others."""


def accuracy_tables(cells: Cells, published: pd.DataFrame | None = None) -> list[Table]:
    """Return a table per setup: methods, grouped by budget, against benchmarks, then the mean retained.

    Args:
        cells: the cells to show.
        published: published numbers (:func:`script_exp.analysis.published.load_published`) to show in gray
            beside ours; they are never ranked.
    """
    return [
        without_empty(_accuracy_table(answered, published, _not_scored(setup)))
        for setup in cells.setups()
        if len(answered := setup[setup["accuracy"].notna()])
    ]


def budget_tables(cells: Cells) -> list[Table]:
    """Return one table per setup and benchmark: methods against budgets, with the share retained."""
    tables = []
    for setup in cells.setups():
        answered = setup[setup["accuracy"].notna()]
        for _, group in answered.groupby("column", sort=True):
            if group["budget"].notna().any():
                tables.append(_budget_table(group))
    return tables


def heading(cells: pd.DataFrame) -> str:
    """Return the budget of these cells in words, with the share of the tokens that it removes.

    The share refers to the tokens that the pruner chooses from. A model that cuts off an image's padding
    after pruning removes more than that; how much depends on the method.
    """
    budget = cells["budget"].iloc[0]
    if pd.isna(budget):
        return "Unpruned"
    removed = max(0.0, 1 - (asked(cells) / cells["offered"]).median())
    kept = tokens_text(budget)
    if budget >= 1 and cells["budget_crops"].max() > 1:
        kept += " per crop"
    return kept if cells["offered"].isna().all() else f"{kept}, {100 * removed:.1f} % removed"


def asked(cells: pd.DataFrame) -> pd.Series:
    """Return the number of tokens that the budget allows over all crops."""
    return cells["budget"] * cells["budget_crops"].where(cells["budget"] >= 1, cells["offered"])


def exceeds(cells: pd.DataFrame) -> pd.Series:
    """Return whether the LLM's layers have more tokens on average than the budget allows.

    So it is where a method inside the LLM keeps the budget after its last stage. It has an advantage over
    methods that keep the budget in every layer, and is not ranked with them.
    """
    return (cells["layer_average"] > 1.05 * asked(cells)).fillna(False).astype(bool)  # unknown elsewhere


def by_budget(cells: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
    """Group the cells by budget: unpruned first, then from the largest budget down."""
    groups = [(group["budget"].iloc[0], group) for _, group in cells.groupby("budget", dropna=False)]
    return sorted(groups, key=lambda group: -np.inf if np.isnan(group[0]) else -group[0])


def methods(cells: pd.DataFrame, everywhere: pd.DataFrame) -> list[str]:
    """Return the row labels of one budget: all methods run at any budget, and the variants at this one.

    A missing cell is then a hole in the table; without its row, nobody would notice.
    """
    pruned = everywhere[everywhere["budget"].notna()]
    expected = set(pruned[is_main(pruned)]["label"]) if cells["budget"].notna().any() else set()
    return sorted(expected | set(cells["label"]), key=rank)


def _accuracy_table(cells: pd.DataFrame, published: pd.DataFrame | None, more_notes: list[str]) -> Table:
    columns = sorted(set(cells["column"]))
    several = len(columns) > 1
    references = reference_rows(cells, columns, published)
    groups = []
    for budget, group in by_budget(cells):
        labels = methods(group, cells)
        rows = _ranked(labels, columns, group)
        gray = [
            Row([Entry(name), Entry(), *map(Entry, values), Entry()], reference=True)
            for name, values in references.rows(budget)
        ]
        groups.append(Group(heading(group), [*map(Row, rows), *gray]))
    notes = ["Tokens: visual tokens, mean over the LLM's layers.", INTERVAL]
    if exceeds(cells).any():
        notes.append("Not ranked: methods with more tokens than the budget, mean over the LLM's layers.")
    if several and cells["retained"].notna().any():
        notes.append("Retained: the share of the unpruned accuracy in %, averaged over the benchmarks.")
    return Table(
        name="accuracy",
        title=f"Accuracy ({setup_title(cells)})",
        columns=[
            "Method",
            "Tokens",
            *(", ".join(column_heading(column, cells)) for column in columns),
            "Retained, %",
        ],
        groups=groups,
        notes=[*notes, *more_notes, *_seeds(cells), *column_notes(cells), *references.notes],
        data=_data(cells),
    )


def _ranked(labels: Sequence[str], columns: Sequence[str], group: pd.DataFrame) -> list[list[Entry]]:
    """Return the rows of one budget, with the best entries of every column marked."""
    at = {(row["label"], row["column"]): row for _, row in group.iterrows()}
    means = group.groupby("label")["layer_average"].mean().dropna()
    unranked = {*group[exceeds(group)]["label"]}
    tokens = [Entry(f"{means[label]:.0f}") if label in means else Entry() for label in labels]
    parts = [[Entry(label) for label in labels], tokens]
    for column in columns:
        found = [at.get((label, column)) for label in labels]
        parts.append(
            mark_best(
                [Entry() if one is None else accuracy_entry(one) for one in found],
                [
                    None if one is None or one["skipped"] or one["label"] in unranked else one["accuracy"]
                    for one in found
                ],
            )
        )
    averages, complete = [], []
    for label in labels:
        shares = [at[label, column]["retained"] for column in columns if (label, column) in at]
        shares = [share for share in shares if not np.isnan(share)]
        whole = len(shares) == len(columns)
        text = f"{np.mean(shares):.1f}" if shares else ""
        averages.append(Entry(text, "" if whole or not shares else f"({len(shares)} of {len(columns)})"))
        skipped = any(at[label, column]["skipped"] for column in columns if (label, column) in at)
        ranked = whole and not skipped and label not in unranked
        complete.append(float(np.mean(shares)) if ranked else None)
    parts.append(mark_best(averages, complete))
    return [list(row) for row in zip(*parts, strict=True)]


def accuracy_entry(cell: pd.Series) -> Entry:
    """Return the accuracy with half the width of its interval."""
    skipped = "†" if cell["skipped"] else ""
    half = (cell["high"] - cell["low"]) / 2
    return Entry(f"{cell['accuracy']:.1f}{skipped}", "" if np.isnan(half) else f"±{half:.1f}")


def _not_scored(setup: pd.DataFrame) -> list[str]:
    """Return a note that names the benchmarks whose answers a server or a judge has yet to score."""
    names = sorted(set(setup["column"]) - set(setup[setup["accuracy"].notna()]["column"]))
    return [f"Answered but not scored here: {', '.join(names)} (see docs/benchmarks.md)."] if names else []


def _inside_the_llm(cells: pd.DataFrame) -> list[str]:
    """Return a note for each method that exceeds its budget in the mean over the LLM's layers."""
    notes = []
    for label, group in cells.groupby("label", sort=True):
        group = group.sort_values("budget", ascending=False)
        more = group[exceeds(group)]
        if len(more):
            means = ", ".join(f"{mean:.0f}" for mean in more["layer_average"])
            budgets = ", ".join(budget_text(budget) for budget in more["budget"])
            notes.append(f"{label} at {budgets}: {means} tokens, mean over the LLM's layers.")
    return notes


def _budget_table(cells: pd.DataFrame) -> Table:
    unpruned = cells[cells["budget"].isna()]
    pruned = cells[cells["budget"].notna()]
    budgets = [budget for budget, _ in by_budget(pruned)]
    more = pruned["label"].isin(pruned[exceeds(pruned)]["label"])
    before = "The unpruned run is missing"
    if len(unpruned):
        entry = accuracy_entry(unpruned.iloc[0])
        before = f"Unpruned, {unpruned['visual'].iloc[0]:g} tokens: {entry.text} {entry.small}".rstrip()
    column = cells["column"].iloc[0]
    return Table(
        name="by_budget",
        title=f"{', '.join(column_heading(column, cells))}, by budget ({setup_title(cells)})",
        columns=["Method", *map(budget_text, budgets)],
        groups=[
            Group(title, _rows_by_budget(own, budgets))
            for title, own in ((before, pruned[~more]), (MORE, pruned[more]))
            if len(own)
        ],
        notes=[
            "In parentheses: the share of the unpruned accuracy. The best at each budget is bold, the second "
            "best underlined.",
            *_inside_the_llm(pruned),
            *_seeds(cells),
            *column_notes(cells),
        ],
        data=_data(cells),
    )


def _rows_by_budget(pruned: pd.DataFrame, budgets: Sequence[float]) -> list[Row]:
    """Return a row per method, with the best entries at every budget marked."""
    labels = sorted(set(pruned["label"]), key=rank)
    parts = [[Entry(label) for label in labels]]
    for budget in budgets:
        at = {row["label"]: row for _, row in pruned[pruned["budget"] == budget].iterrows()}
        parts.append(
            mark_best(
                [_retained_entry(at[label]) if label in at else Entry() for label in labels],
                [
                    at[label]["accuracy"] if label in at and not at[label]["skipped"] else None
                    for label in labels
                ],
            )
        )
    return [Row(list(row)) for row in zip(*parts, strict=True)]


def _retained_entry(cell: pd.Series) -> Entry:
    share = "" if np.isnan(cell["retained"]) else f"({cell['retained']:.0f} %)"
    return Entry(accuracy_entry(cell).text, share)


def budget_text(budget: float) -> str:
    """Format a budget: a number of tokens as it is, a share of the tokens in percent."""
    return f"{100 * budget:g} %" if budget < 1 else f"{budget:g}"


def tokens_text(budget: float) -> str:
    """Format a budget with its noun, such as ``64 tokens`` or ``25 % of the tokens``."""
    return f"{budget_text(budget)} {'of the ' if budget < 1 else ''}tokens"


def column_heading(column: str, cells: pd.DataFrame) -> tuple[str, str]:
    """Return the benchmark with its protocol, and the unit of its metric."""
    metric = cells[cells["column"] == column]["metric"].dropna().iloc[0]
    return column, METRICS[metric].unit if metric in METRICS else metric


def _seeds(cells: pd.DataFrame) -> list[str]:
    counts = sorted(set(cells[draws(cells) | (cells["seeds"] > 1)]["seeds"]))
    if counts in ([], [1]):
        return []
    number = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return [f"Methods that draw at random: means over {number} seeds."]


def _data(cells: pd.DataFrame) -> pd.DataFrame:
    columns: Sequence[str] = [
        "model", "column", "pruner", "variant", "budget", "seeds", "n", "visual", "kept", "layer_average",
        "accuracy", "low", "high", "unpruned", "retained",
    ]  # fmt: skip
    return cells[list(columns)].rename(columns={"column": "benchmark"})

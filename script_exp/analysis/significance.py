"""Test whether differences can be chance: from the unpruned run, between methods, between modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from script_exp.analysis.accuracy import accuracy_entry, budget_text, by_budget, heading
from script_exp.analysis.cells import Cells, rank, setup_title
from script_exp.analysis.comparison import Comparison, compare, holm
from script_exp.analysis.table import Entry, Group, Row, Table, without_empty
from script_exp.benchmarks import METRICS
from script_exp.errors import UserError
from script_exp.results.read import CopiedAlone, draws, load_samples

_MODULES = {"graph": ("✓", ""), "query": ("", "✓"), "script": ("✓", "✓"), "random": ("", "")}
_LEVEL = 0.05
_MOST_ROWS = 250
"""A larger table takes minutes to compute, and its correction leaves almost no power."""

_NOTES = [
    "Difference: in points, paired on the same questions, with its 95 % interval, which in simulations with "
    "5 to 500 units covers the truth at worst in 91 % of the cases. Worse, Better: numbers of answers with a "
    "lower and a higher score.",
    "p: two-sided, paired over units as the interval, and from McNemar's exact test over answers, both "
    "corrected for all rows of this table (Holm). McNemar's test treats questions on one image as "
    "independent; it is left out if seeds are pooled.",
]


@dataclass(frozen=True)
class Outcome:
    """The comparison of ``cell`` with the cell named ``other``; None if they cannot be compared."""

    cell: pd.Series
    other: str
    result: Comparison | None


class PairedTests:
    """Paired tests between cells; keeps the samples it has read.

    Attributes:
        problems: one sentence per comparison that cannot be made, or not on all seeds; one for all results
            that were copied without their samples.
    """

    def __init__(self, cells: Cells) -> None:
        self._runs = cells.runs[["seed", "identity", "unpruned_identity", "run_dir"]].assign(
            draws=draws(cells.runs)
        )
        self._folders = self._runs.drop_duplicates("identity").set_index("identity")["run_dir"]
        self._read = lru_cache(maxsize=64)(load_samples)
        self._made: dict[tuple[tuple[str, ...], tuple[str, ...]], Comparison | None] = {}
        self._copied_named = False
        self.problems: list[str] = []

    def against_unpruned(self, cell: pd.Series) -> Outcome:
        """Compare a cell with the unpruned runs of the same seeds."""
        own = self._runs.loc[cell["runs"]]
        if not own["unpruned_identity"].isin(self._folders.index).all():
            return Outcome(cell, "none", None)
        unpruned = self._folders.loc[own["unpruned_identity"]]
        return Outcome(cell, "none", self._compare(cell, own["run_dir"], unpruned))

    def against(self, cell: pd.Series, other: pd.Series) -> Outcome:
        """Compare a cell with another one, on the seeds that both have.

        The single run of a method that draws nothing is compared with all runs of the other.
        """
        first, second = (self._runs.loc[one["runs"]] for one in (cell, other))
        if any(len(one) == 1 and not one["draws"].any() for one in (first, second)):
            pairs = first.merge(second, how="cross", suffixes=("", "_other"))
        else:
            pairs = first.merge(second, on="seed", suffixes=("", "_other"))
            if len(pairs) < max(len(first), len(second)):
                where = f"on {cell['column']} at {budget_text(cell['budget'])}"
                problem = (
                    f"{cell['label']} and {other['label']} {where}: they have {len(first)} and {len(second)} "
                    f"seeds, of which only the {len(pairs)} in common are compared"
                )
                if problem not in self.problems:  # two tables compare the same cells
                    self.problems.append(problem)
        if pairs.empty:
            return Outcome(cell, other["label"], None)
        return Outcome(cell, other["label"], self._compare(cell, pairs["run_dir"], pairs["run_dir_other"]))

    def _compare(self, cell: pd.Series, first: pd.Series, second: pd.Series) -> Comparison | None:
        """Compare run directories, seed by seed; None if there are no samples to read."""
        if first.isna().any() or second.isna().any():
            return None
        key = tuple(first), tuple(second)
        if key not in self._made:
            self._made[key] = self._compare_folders(cell["metric"], *key)
        return self._made[key]

    def _compare_folders(
        self, metric: str, first: tuple[str, ...], second: tuple[str, ...]
    ) -> Comparison | None:
        if metric not in METRICS:
            self.problems.append(
                f"{', '.join(first)}: metric {metric} is not in METRICS of script_exp/benchmarks"
            )
            return None
        try:
            after, before = ([self._read(Path(folder)) for folder in side] for side in (first, second))
            return compare(METRICS[metric], after, before)
        except CopiedAlone as error:
            if not self._copied_named:
                self._copied_named = True
                self.problems.append(f"paired comparisons of results like this one: {error}")
            return None
        except (UserError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.problems.append(f"{', '.join(first)} cannot be compared with {', '.join(second)}: {error}")
            return None


def unpruned_tables(cells: Cells, tests: PairedTests) -> list[Table]:
    """Return one table per setup: every method against the unpruned model."""
    tables = []
    for setup in cells.setups():
        title = f"Against the unpruned model ({setup_title(setup)})"
        pruned = setup[setup["budget"].notna() & setup["accuracy"].notna()]
        if _can_tell(len(pruned), title, tests):
            tested = [tests.against_unpruned(cell) for _, cell in pruned.iterrows()]
            tables += _table("against_unpruned", title, tested)
    return tables


def pair_tables(cells: Cells, tests: PairedTests, reference: str) -> list[Table]:
    """Return one table per setup: every other method against ``reference`` at the same budget.

    Args:
        reference: the label of a method, for example ``script``.
    """
    tables = []
    for setup in cells.setups():
        title = f"Against {reference} ({setup_title(setup)})"
        pairs = list(_pairs(setup, reference))
        if _can_tell(len(pairs), title, tests):
            tested = [tests.against(cell, ours) for cell, ours in pairs]
            tables += _table(f"against_{reference}", title, tested)
    return tables


def ablation_tables(cells: Cells, tests: PairedTests) -> list[Table]:
    """Return one table per setup and benchmark: Script's modules alone and together, with differences."""
    tables = []
    for setup in cells.setups():
        modules = setup[setup["pruner"].isin(list(_MODULES)) & setup["accuracy"].notna()]
        for column, group in modules.groupby("column", sort=True):
            if {"graph", "query", "script"} <= set(group["pruner"]):
                tables.append(_ablation_table(str(column), group, tests))
    return tables


def _pairs(cells: pd.DataFrame, reference: str) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Yield every other method's cell with the cell of ``reference`` on the same benchmark and budget."""
    answered = cells[cells["accuracy"].notna() & cells["budget"].notna()]
    for _, group in answered.groupby(["column", "budget"], sort=False):
        ours = group[group["label"] == reference]
        if len(ours):
            for _, cell in group[group["label"] != reference].iterrows():
                yield cell, ours.iloc[0]


def _can_tell(rows: int, title: str, tests: PairedTests) -> bool:
    """Return whether a table with this many comparisons can show anything; if not, report a problem."""
    if rows > _MOST_ROWS:
        tests.problems.append(
            f"{title}: {rows} comparisons; a table has at most {_MOST_ROWS}, because it is corrected for "
            "all of them; choose fewer with --benchmark, --pruner and --budget"
        )
    return rows <= _MOST_ROWS


def _corrected(tested: Sequence[Outcome], name: str) -> dict[int, float]:
    """Return the Holm-corrected p-values by position in ``tested``; positions without a test are left out."""
    raw = {
        index: getattr(one.result, name)
        for index, one in enumerate(tested)
        if one.result is not None and getattr(one.result, name) is not None
    }
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def _table(name: str, title: str, tested: Sequence[Outcome]) -> list[Table]:
    """Return the table in a list, which is empty if there is nothing to show."""
    if not any(one.result for one in tested):
        return []
    paired, mcnemar = _corrected(tested, "p_paired"), _corrected(tested, "p_mcnemar")
    rows, data = [], []
    for index, one in enumerate(tested):
        rows.append(_row(one, paired.get(index), mcnemar.get(index)))
        data.append(_numbers(one, paired.get(index), mcnemar.get(index)))
    keys = [(one.cell["column"], one.cell["budget"]) for one in tested]
    groups = []
    for key in sorted(set(keys), key=lambda key: (key[0], -key[1])):
        chosen = [index for index, own in enumerate(keys) if own == key]
        cells = pd.DataFrame([tested[index].cell for index in chosen])
        groups.append(Group(f"{key[0]}, {heading(cells)}", [rows[index] for index in chosen]))
    columns = ["Method", "Difference", "95 % interval", "Worse", "Better", "p, paired", "p, McNemar"]
    return [without_empty(Table(name, title, columns, groups, pd.DataFrame(data), _NOTES))]


def _row(tested: Outcome, paired: float | None, mcnemar: float | None) -> Row:
    result = tested.result
    if result is None:
        return Row([Entry(tested.cell["label"]), *[Entry()] * 6])
    return Row(
        [
            Entry(tested.cell["label"]),
            Entry(f"{result.difference:+.1f}"),
            Entry(f"{result.interval[0]:+.1f} to {result.interval[1]:+.1f}"),
            Entry(str(result.lost)),
            Entry(str(result.won)),
            _p_value(paired),
            _p_value(mcnemar),
        ]
    )


def _numbers(tested: Outcome, paired: float | None, mcnemar: float | None) -> dict[str, object]:
    cell, result = tested.cell, tested.result
    row = {"model": cell["model"], "benchmark": cell["column"], "pruner": cell["pruner"]}
    row |= {"variant": cell["variant"], "budget": cell["budget"], "against": tested.other}
    if result is None:
        return row
    return row | {
        "difference": result.difference,
        "low": result.interval[0],
        "high": result.interval[1],
        "worse": result.lost,
        "better": result.won,
        "p_paired": result.p_paired,
        "p_paired_holm": paired,
        "p_mcnemar": result.p_mcnemar,
        "p_mcnemar_holm": mcnemar,
    }


def _ablation_table(column: str, cells: pd.DataFrame, tests: PairedTests) -> Table:
    tested = [tests.against(cell, ours) for cell, ours in _pairs(cells, "script")]
    corrected = _corrected(tested, "p_paired")
    differences = {
        (one.cell["label"], one.cell["budget"]): (one.result, corrected.get(index))
        for index, one in enumerate(tested)
    }
    pruned = cells[cells["budget"].notna()]
    labels = sorted(set(pruned["label"]), key=rank)
    budgets = by_budget(pruned)
    rows = []
    for label in labels:
        entries = [Entry(label), *map(Entry, _MODULES[label.split(" ")[0]])]
        for budget, group in budgets:
            cell = group[group["label"] == label]
            if cell.empty:
                entries.append(Entry())
                continue
            result, p_value = differences.get((label, budget), (None, None))
            small = ""
            if result is not None:
                star = "*" if p_value is not None and p_value < _LEVEL else ""
                small = f"({result.difference:+.1f}{star})"
            entries.append(Entry(accuracy_entry(cell.iloc[0]).text, small))
        rows.append(Row(entries))
    return Table(
        name="ablation",
        title=f"Script's modules on {column} ({setup_title(cells)})",
        columns=["Method", "Graph", "Query", *(budget_text(budget) for budget, _ in budgets)],
        groups=[Group("", rows)],
        notes=[
            "Accuracy by budget. In parentheses: the paired difference to script; *: p < 0.05, paired "
            "over units and corrected for all differences in this table (Holm)."
        ],
        data=pd.DataFrame(
            [
                _numbers(one, corrected.get(index), None) | {"accuracy": one.cell["accuracy"]}
                for index, one in enumerate(tested)
            ]
        ).replace({None: np.nan}),
        texts=3,
    )


def _p_value(value: float | None) -> Entry:
    if value is None:
        return Entry()
    return Entry("<0.001" if value < 0.001 else f"{value:.3f}")

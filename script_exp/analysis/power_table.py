"""The table of :mod:`script_exp.analysis.power`: which runs are compared, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from script_exp.analysis.cells import Cells, make_cells, setup_title
from script_exp.analysis.power import Flips, Simulation
from script_exp.analysis.table import Entry, Group, Row, Table
from script_exp.errors import UserError
from script_exp.results.read import load_samples
from script_exp.terminal.progress import counted


def whole_runs(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the runs over whole benchmarks that have answers with scores, and why others are left out."""
    reasons = pd.Series("", index=runs.index)
    reasons[runs["metric"].isna()] = "its answers have no scores, because a server or a judge gives them"
    reasons[runs["partial"].fillna(False).astype(bool)] = "it is partial: limit= or samples that were skipped"
    reasons[runs["weights"] == "random"] = "its weights are random"
    left_out = [f"{place}: {why}" for place, why in zip(runs["place"], reasons, strict=True) if why]
    return runs[reasons == ""], left_out


def power_tables(
    runs: pd.DataFrame, reference: str, points: Sequence[float], power: float, simulation: Simulation
) -> tuple[list[Table], list[str]]:
    """Return one table per setup: for every method, the samples that tell it from ``reference``.

    Args:
        runs: whole runs.
        reference: the label of a method, for example ``script``.
        points: differences in percent of the answers.
        power: how often the difference has to be found.
        simulation: how that is simulated.

    Returns:
        the tables, and one sentence for everything that is left out.

    Raises:
        UserError: if there are no two runs to compare.
    """
    cells = make_cells(runs)
    tables, problems = [], list(cells.problems)
    for setup in cells.setups():
        pairs = list(_pairs(setup, reference))
        groups: dict[str, list[Row]] = {}
        data = []
        for cell, ours in counted(pairs, len(pairs), "simulating"):
            try:
                first, second = (load_samples(Path(_folder(cells, one))) for one in (ours, cell))
                flips = Flips.of(first, second)
            except (UserError, ValueError, TypeError) as error:
                problems.append(f"{ours['label']} and {cell['label']} on {cell['column']}: {error}")
                continue
            found = [simulation.samples_for(flips, difference, power) for difference in points]
            alarms = simulation.power(flips, 0.0, flips.samples)
            heading = f"{cell['column']}, {reference} at {ours['budget']:g}"
            heading += f": {flips.samples:,} samples, {len(flips.counts):,} units"
            shown = ["more than 10,000,000" if number is None else f"{number:,}" for number in found]
            texts = [cell["label"], f"{100 * flips.share:.1f}", *shown, f"{100 * alarms:.1f}"]
            groups.setdefault(heading, []).append(Row([Entry(text) for text in texts]))
            data.append(
                {"benchmark": cell["column"], "budget": ours["budget"], "method": cell["label"]}
                | {"differ": flips.share, "samples": flips.samples, "units": len(flips.counts)}
                | {f"samples_for_{difference:g}": n for difference, n in zip(points, found, strict=True)}
                | {"false_alarms": alarms}
            )
        if data:
            title = f"Samples that tell a method from {reference} ({setup_title(setup)})"
            columns = ["Method", "Differ, %", *(f"{one:g} points" for one in points), "False alarms, %"]
            rows = [Group(heading, own) for heading, own in groups.items()]
            tables.append(Table("power", title, columns, rows, pd.DataFrame(data), _notes(power, simulation)))
    if not tables:
        why = f"; left out: {problems[0]}" if problems else ""
        raise UserError(
            f"--reference={reference}: expected a method with a finished run over a whole benchmark, and a "
            "run of another method at its budget, or unpruned, on the same benchmark and protocol" + why
        )
    return tables, problems


def _notes(power: float, simulation: Simulation) -> list[str]:
    return [
        f"Samples with which McNemar's exact test finds a true difference at p <= {simulation.level:g} in "
        f"{100 * power:g} % of {simulation.repeats:,} simulated benchmarks, whose units are drawn with "
        "replacement.",
        "Differ: answers with different scores. Points: answers that score higher less those that score "
        "lower, in % of all; the difference in accuracy where scores are 0 or 1. False alarms: how often the "
        "test finds a difference with the present samples where there is none.",
    ]


def _pairs(setup: pd.DataFrame, reference: str) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Yield every method's cell, and the unpruned one, with that of ``reference`` on the same column."""
    for _, ours in setup[(setup["label"] == reference) & setup["budget"].notna()].iterrows():
        beside = setup[(setup["column"] == ours["column"]) & (setup["label"] != reference)]
        for _, cell in beside[beside["budget"].isna() | (beside["budget"] == ours["budget"])].iterrows():
            yield cell, ours


def _folder(cells: Cells, cell: pd.Series) -> str:
    """Return the run directory of a cell's lowest seed: one run stands for one future run."""
    own = cells.runs.loc[cell["runs"]].sort_values("seed")
    return str(own["run_dir"].iloc[0])

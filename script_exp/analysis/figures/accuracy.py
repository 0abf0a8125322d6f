"""Figures of accuracy: against the budget, over benchmarks, and against one setting of a method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from script_exp.analysis.accuracy import asked, by_budget, column_heading, heading, tokens_text
from script_exp.analysis.cells import is_main, rank
from script_exp.analysis.figures.style import MARKERS, UNPRUNED, Looks, legend, panels, wrap


def against_budget(cells: pd.DataFrame, looks: Looks) -> Figure | None:
    """Draw accuracy against tokens kept (mean over layers) with 95 % intervals; one panel per benchmark."""
    answered = cells[cells["accuracy"].notna()]
    columns = sorted(set(answered[answered["budget"].notna()]["column"]))
    if not columns:
        return None
    figure, axes = panels(len(columns), height=2.6)
    for one, column in zip(axes, columns, strict=True):
        group = answered[answered["column"] == column]
        _unpruned_line(one, group)
        pruned = group[group["budget"].notna()]
        labels = sorted(set(pruned["label"]), key=rank)
        colored = [label for label in labels if looks.is_colored(label)]
        step = min(1.018, 1.1 ** (2 / max(1, len(colored) - 1)))
        for label in labels:
            points = pruned[pruned["label"] == label].sort_values("layer_average")
            if label not in colored:
                one.plot(points["layer_average"], points["accuracy"], **looks.of(label))
                continue
            apart = step ** (colored.index(label) - (len(colored) - 1) / 2)  # intervals side by side
            _with_interval(one, points["layer_average"] * apart, points, **looks.of(label))
        one.set_xscale("log", base=2)
        wanted = asked(pruned)
        near = (pruned["layer_average"] / wanted - 1).abs() < 0.1  # not so of methods inside the LLM
        ticks = sorted(
            {round(tokens) for tokens in (wanted[near] if near.any() else pruned["layer_average"])}
        )
        one.set_xticks(ticks, [str(tick) for tick in ticks])
        one.xaxis.set_minor_locator(NullLocator())
        one.set_xlabel("visual tokens kept\n(mean over the LLM's layers)")
        one.set(ylabel=f"accuracy, {column_heading(column, group)[1]}", title=wrap(column, 26))
    legend(figure, axes)
    return figure


def over_benchmarks(cells: pd.DataFrame, looks: Looks) -> Figure | None:
    """Draw the share of unpruned accuracy per benchmark, a radar per budget; None below three benchmarks."""
    known = cells[cells["retained"].notna() & cells["budget"].notna()]
    known = known[is_main(known)] if len(known) else known
    budgets = [
        (budget, group, columns)
        for budget, group in by_budget(known)
        if len(columns := sorted(set(group["column"]))) >= 3
    ]
    if not budgets:
        return None
    figure, axes = panels(len(budgets), height=2.35, subplot_kw={"projection": "polar"})
    low, high = 20 * np.floor(known["retained"].min() / 20), max(100, known["retained"].max())
    for one, (_, group, columns) in zip(axes, budgets, strict=True):
        angles = np.linspace(0, 2 * np.pi, len(columns), endpoint=False)
        for label in sorted(set(group["label"]), key=rank):
            values = group[group["label"] == label].set_index("column")["retained"].reindex(columns)
            if values.notna().all():
                closed = [*values, values.iloc[0]]
                one.plot([*angles, angles[0]], closed, **{"markersize": 3} | looks.of(label))
        one.set_theta_zero_location("N")
        one.set_xticks(angles, [wrap(column, 16) for column in columns])
        one.set_ylim(max(0, low - 10), high)
        one.set_yticks(rings := np.arange(low, high + 1, 20), [f"{ring:.0f} %" for ring in rings])
        one.set_rlabel_position(180 / len(columns))
        one.tick_params(axis="x", pad=3)
        one.tick_params(axis="y", labelsize=6, colors="#666666")
        for ring in one.get_yticklabels():
            ring.set_bbox({"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})
        one.spines["polar"].set_color("#bbbbbb")
        one.set_title(heading(group), pad=8)
    legend(figure, axes)
    return figure


def sweeps(cells: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Draw accuracy against each setting with three or more values in a method's runs, all else equal."""
    for (pruner, key), lines in _one_setting(cells[cells["accuracy"].notna()]).items():
        columns = sorted({column for column, _, _ in lines})
        figure, axes = panels(len(columns), height=2.4)
        for one, column in zip(axes, columns, strict=True):
            group = cells[cells["column"] == column]
            _unpruned_line(one, group)
            own = [(label, points) for name, label, points in lines if name == column]
            shades = sns.color_palette("crest_r", len(own))
            for (label, points), color, marker in zip(own, shades, cycle(MARKERS), strict=False):
                _with_interval(one, points["value"], points, label=label, color=color, marker=marker)
            unit = column_heading(column, group)[1]
            one.set(xlabel=f"{pruner}: {key}", ylabel=f"accuracy, {unit}", title=wrap(column, 26))
        legend(figure, axes)
        yield f"sweep_{pruner}_{key}", figure


def _one_setting(cells: pd.DataFrame) -> dict[tuple[str, str], list[tuple[str, str, pd.DataFrame]]]:
    """Return lines by method and setting: benchmark, label, and cells by value with all else equal."""
    found: dict[tuple[str, str], list[tuple[str, str, pd.DataFrame]]] = {}
    pruned = cells[cells["budget"].notna()]
    for (pruner, column, _), group in pruned.groupby(["pruner", "column", "budget"]):
        settings = [{**json.loads(text), "seed": None} for text in group["pruner_settings"]]
        for key in sorted({key for one in settings for key, value in one.items() if _is_number(value)}):
            rest = [json.dumps({name: one[name] for name in one if name != key}) for one in settings]
            values = pd.Series([one.get(key) for one in settings], index=group.index)
            points = group.assign(value=values, rest=rest)
            points = points[points["value"].map(_is_number)]
            lines = {others: own for others, own in points.groupby("rest") if own["value"].nunique() >= 3}
            for others, own in lines.items():
                label = tokens_text(own["budget"].iloc[0]) + _differing(others, list(lines))
                ordered = own.assign(value=own["value"].astype(float)).sort_values("value")
                found.setdefault((str(pruner), key), []).append((str(column), label, ordered))
    for lines_of_key in found.values():
        lines_of_key.sort(key=lambda line: -line[2]["budget"].iloc[0])
    return found


def _differing(others: Any, lines: list[Any]) -> str:
    """Return the other settings of a line in which the lines differ."""
    all_others = [json.loads(text) for text in lines]
    own = json.loads(others)
    told = [
        f"{key}={value}" for key, value in own.items() if any(one.get(key) != value for one in all_others)
    ]
    return f", {', '.join(told)}" if told else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with_interval(axes: Axes, x: pd.Series, points: pd.DataFrame, **look: Any) -> None:
    errors = [points["accuracy"] - points["low"], points["high"] - points["accuracy"]]
    axes.errorbar(x, points["accuracy"], yerr=errors, capsize=1.5, elinewidth=0.7, capthick=0.7, **look)


def _unpruned_line(axes: Axes, cells: pd.DataFrame) -> None:
    unpruned = cells[cells["budget"].isna() & cells["accuracy"].notna()]
    if len(unpruned):
        low, high = unpruned["low"].iloc[0], unpruned["high"].iloc[0]
        if low <= high:  # a single unit has no interval
            axes.axhspan(low, high, color="#222222", alpha=0.07, linewidth=0)
        axes.axhline(unpruned["accuracy"].iloc[0], label="unpruned", **UNPRUNED)

"""Figures of cost: accuracy against prefill time or FLOPs with the Pareto front, and latency by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from script_exp.analysis.accuracy import by_budget, column_heading, heading
from script_exp.analysis.cells import rank
from script_exp.analysis.figures.style import Looks, legend, panels, wrap
from script_exp.results.read import STAGES

# From light to dark, in grayscale too.
_STAGE_COLORS = {
    "preprocess": "#d9d9d9", "vision": "#9ecae1", "query_encoder": "#f0c75e", "pruner": "#d55e00",
    "llm": "#08519c",
}  # fmt: skip


def against_cost(cells: pd.DataFrame, looks: Looks, cost: str, name: str, factor: float = 1) -> Figure | None:
    """Draw accuracy against a column of costs, with the Pareto front; one panel per benchmark.

    Args:
        cells: cells of one setup, measured on one device if ``cost`` is a time.
        looks: color and marker of every method.
        cost: the column, for example ``prefill_tflops``.
        name: label of the axis.
        factor: from the column's unit to the unit of the axis.
    """
    known = cells[cells["accuracy"].notna() & cells[cost].notna()]
    columns = sorted(set(known[known["budget"].notna()]["column"]))
    if not columns:
        return None
    figure, axes = panels(len(columns), height=2.8)
    for one, column in zip(axes, columns, strict=True):
        group = known[known["column"] == column].assign(cost=lambda frame: factor * frame[cost])
        front = pareto_front(group["cost"], group["accuracy"])
        best = group.loc[front]
        one.step(
            [*best["cost"], group["cost"].max()],
            [*best["accuracy"], best["accuracy"].iloc[-1]],
            where="post", color="#bbbbbb", linewidth=2.2, label="Pareto front", zorder=1,
        )  # fmt: skip
        for label in sorted(set(group["label"]), key=rank):
            points = group[group["label"] == label].sort_values("budget")
            unpruned = {"marker": "*", "markersize": 9, "linestyle": "none"} if label == "unpruned" else {}
            one.plot(
                points["cost"],
                points["accuracy"],
                **{"linewidth": 0.8} | looks.of(label) | unpruned,
            )
        one.set(xlabel=name, ylabel=f"accuracy, {column_heading(column, group)[1]}", title=wrap(column, 26))
    legend(figure, axes)
    return figure


def prefill_percent(cells: pd.DataFrame) -> pd.Series:
    """Return the LLM prefill in percent of the unpruned model's, which was measured in turn with it."""
    return (100 / cells["prefill_speedup"]).where(
        cells["budget"].notna() | cells["llm_prefill_ms"].isna(), 100.0
    )


def pareto_front(cost: pd.Series, accuracy: pd.Series) -> list[int]:
    """Return the labels of the Pareto front, cheapest first: no other point is as good at no higher cost."""
    front, best = [], -np.inf
    for label in pd.DataFrame({"cost": cost, "accuracy": -accuracy}).sort_values(["cost", "accuracy"]).index:
        if accuracy[label] > best:
            front.append(label)
            best = accuracy[label]
    return front


def by_stage(cells: pd.DataFrame) -> Figure | None:
    """Draw the time to first token of every method by stage; one panel per budget, unpruned on top.

    Times are in percent of the unpruned model's time to first token, which was measured in turn with each
    method: absolute times of two runs may differ by what else the machine did.

    Args:
        cells: cells of one setup, benchmark and device.
    """
    timed = cells[cells["ttft_ms"].notna()]
    unpruned, pruned = timed[timed["budget"].isna()], timed[timed["budget"].notna()]
    if pruned.empty:
        return None
    budgets = by_budget(pruned)
    most = max(len(group) for _, group in budgets) + len(unpruned)
    lines = max(wrap(label).count("\n") + 1 for label in timed["label"])
    row = max(0.17, 0.15 * lines)  # inches
    figure, axes = panels(len(budgets), height=row * most + 0.75, most=2, sharex=True)
    for one, (_, group) in zip(axes, budgets, strict=True):
        rows = pd.concat([unpruned, group]).set_index("label")
        whole = rows["unpruned_ttft_ms"].where(rows["budget"].notna(), rows["ttft_ms"])
        stage_bars(one, pd.DataFrame({stage: 100 * rows[f"{stage}_ms"] / whole for stage in STAGES}))
        one.set_title(heading(group))
        one.tick_params(axis="x", labelbottom=True)
    for one in axes[-2:]:
        one.set_xlabel("% of unpruned, measured in turn")
    legend(figure, axes, columns=5)
    return figure


def stage_bars(axes: Axes, times: pd.DataFrame) -> None:
    """Draw one bar per row, from the top down, stacked from its stages.

    Args:
        axes: the axes to draw on.
        times: one column of times for each of :data:`STAGES`; missing if a stage did not run.
    """
    places, left = np.arange(len(times)), np.zeros(len(times))
    for stage in STAGES:
        widths = times[stage].fillna(0).to_numpy()
        axes.barh(
            places, widths, left=left, height=0.75, color=_STAGE_COLORS[stage],
            edgecolor="white", linewidth=0.4, label=stage.replace("_", " "),
        )  # fmt: skip
        left += widths
    axes.set_yticks(places, [wrap(label) for label in times.index])
    axes.set_ylim(len(times) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")

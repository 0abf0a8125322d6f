"""Figures of finished runs, as PDF, SVG and PNG."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from script_exp.analysis.cells import SETUP, Cells, for_figures
from script_exp.analysis.figures.accuracy import against_budget, over_benchmarks, sweeps
from script_exp.analysis.figures.cost import against_cost, by_stage, prefill_percent
from script_exp.analysis.figures.overlap import overlaps
from script_exp.analysis.figures.style import Looks, save, style, wrap
from script_exp.errors import UserError

_NEEDS = {
    "accuracy_by_budget": "a pruned run with an accuracy",
    "accuracy_by_prefill_time": "runs with an accuracy and latency=on",
    "accuracy_by_flops": "a pruned run with an accuracy",
    "latency_by_stage": "pruned runs with latency=on",
    "radar": "three benchmarks or more, with their unpruned runs",
    "sweep": "one setting of a method run with three values or more, all else equal",
    "overlap": "two methods or more whose runs recorded the kept tokens",
}


def write_figures(
    cells: Cells, folder: Path, colored: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Write every figure that the runs allow.

    Args:
        cells: the cells to draw.
        folder: where the files go.
        colored: the methods in color (:class:`script_exp.analysis.figures.style.Looks`).

    Returns:
        the names of the figures, and a sentence for each kind that cannot be drawn.
    """
    written = []

    def write(_: str, name: str, figure: Figure) -> None:
        save(figure, folder, name)
        written.append(name)

    return written, draw(cells, write, colored)


def draw(
    cells: Cells, take: Callable[[str, str, Figure], None], colored: Collection[str] | None = None
) -> list[str]:
    """Draw every figure that the runs allow.

    Args:
        cells: the cells to draw.
        take: receives the kind, name and figure of each.
        colored: the methods in color (:class:`script_exp.analysis.figures.style.Looks`).

    Returns:
        a sentence for each kind that cannot be drawn.
    """
    kinds, reasons = set(), []
    with style():
        try:
            for kind, name, figure in figures(cells, colored):
                take(kind, name, figure)
                kinds.add(kind)
        except UserError as error:  # the last kind is the only one that reads samples
            reasons.append(str(error))
    missing = [f"{kind} needs {needed}" for kind, needed in _NEEDS.items() if kind not in kinds]
    return [*missing, *reasons]


def figures(cells: Cells, colored: Collection[str] | None = None) -> Iterator[tuple[str, str, Figure]]:
    """Yield the kind, name and figure of all figures; names include the setup if there are several.

    Bars and heat maps have no line to draw in gray: they show only the methods in color. Setups without token
    counts, as read from another harness, are in no figure.
    """
    setups = [(own, for_figures(own)) for own in cells.setups() if own["layer_average"].notna().all()]
    if not setups:
        return
    looks = Looks(pd.concat([setup for _, setup in setups]), colored)
    for whole, setup in setups:
        end = _ending(setup, cells.frame)
        giga = setup["prefill_tflops"].max() < 1
        factor, unit = (1000.0, "GFLOPs") if giga else (1.0, "TFLOPs")
        one_of_setup = {
            "accuracy_by_budget": against_budget(setup, looks),
            "accuracy_by_flops": against_cost(setup, looks, "prefill_tflops", f"prefill, {unit}", factor),
            "radar": over_benchmarks(setup, looks),
        }
        yield from ((kind, kind + end, figure) for kind, figure in one_of_setup.items() if figure)
        for name, figure in sweeps(whole):
            yield "sweep", _slug(name) + end, figure
        for device, group in setup.groupby("device"):
            place = end + (_slug(f"-{device}") if setup["device"].nunique() > 1 else "")
            paired = group.assign(prefill_percent=prefill_percent(group))
            name = f"LLM prefill, % of unpruned\n{wrap(f'(in turn on {device})', 26)}"
            prefill = against_cost(paired, looks, "prefill_percent", name)
            if prefill:
                yield "accuracy_by_prefill_time", f"accuracy_by_prefill_time{place}", prefill
            for column, own in group[group["label"].map(looks.is_colored)].groupby("column"):
                stages = by_stage(own)
                if stages:
                    letters = int(stages.get_figwidth() / 0.08)
                    title = wrap(f"{column}, batch 1 on {device}", letters)
                    stages.suptitle(title, fontsize=8.5)
                    stages.set_figheight(stages.get_figheight() + 0.15 * title.count("\n"))
                    yield "latency_by_stage", f"latency_by_stage-{_slug(str(column))}{place}", stages
    for _, setup in setups:
        for column, group in setup[setup["label"].map(looks.is_colored)].groupby("column"):
            heat = overlaps(group, cells)
            if heat:
                yield "overlap", f"overlap-{_slug(str(column))}{_ending(setup, cells.frame)}", heat


def _ending(setup: pd.DataFrame, cells: pd.DataFrame) -> str:
    """Return the end of a file name that tells the setup apart from the others."""
    differing = [name for name in SETUP if cells[name].nunique(dropna=False) > 1]
    first = setup.iloc[0]
    parts = []
    for name in differing:
        if name == "limit":
            parts.append("all" if pd.isna(first[name]) else f"first {first[name]}")
        else:
            parts.append(str(first[name]))
    return "".join(f"-{_slug(part)}" for part in parts)


def _slug(text: str) -> str:
    return re.sub(r"[^\w-]+", "_", text).strip("_")

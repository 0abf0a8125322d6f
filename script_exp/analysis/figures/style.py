"""One style for all figures: readable in print, in grayscale and for color-blind readers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from script_exp.analysis.cells import rank

FORMATS = ("pdf", "svg", "png")
"""File formats that every figure is written in."""

FULL_WIDTH = 6.8  # inches: both columns of a paper
UNPRUNED: dict[str, Any] = {"color": "#222222", "linestyle": (0, (4, 2)), "linewidth": 1.0}

_PALETTE = sns.color_palette("colorblind").as_hex()
_KNOWN = {
    "none": "#222222", "random": _PALETTE[7], "script": _PALETTE[3], "query": _PALETTE[0],
    "graph": _PALETTE[2], "fastv": _PALETTE[4], "trim": _PALETTE[1], "pyramid": _PALETTE[9],
}  # fmt: skip
_OTHERS = (_PALETTE[5], _PALETTE[6], "#004d40", "#6a3d9a", "#8c6d31", "#b15928")
MARKERS = "os^DvPX<>phd"
_KNOWN_MARKERS = {
    "none": "*", "random": "X", "script": "o", "query": "s", "graph": "^", "fastv": "D", "trim": "v",
    "pyramid": "P",
}  # fmt: skip
_OTHER_MARKERS = "<>phd8H"

_RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "script-exp",  # the same figure gives the same file
    "savefig.dpi": 200,
    "text.parse_math": False,  # names may have dollar signs
}


@contextmanager
def style() -> Iterator[None]:
    """Context in which figures are built and saved."""
    settings: Any = {**sns.axes_style("ticks"), **_RC}
    with mpl.rc_context(settings):
        yield


class Looks:
    """Color and marker of every method, the same in all figures of a set."""

    def __init__(self, cells: pd.DataFrame) -> None:
        variants = cells.groupby("pruner")["label"].unique()
        self._pruner = dict(zip(cells["label"], cells["pruner"], strict=True))
        unknown = sorted(set(cells["pruner"]) - set(_KNOWN))
        self._colors = _KNOWN | {name: _OTHERS[index % len(_OTHERS)] for index, name in enumerate(unknown)}
        own = _KNOWN_MARKERS | dict(zip(unknown, cycle(_OTHER_MARKERS), strict=False))
        self._markers = {
            label: own[str(pruner)] if place == 0 else MARKERS[(MARKERS.find(own[str(pruner)]) + place) % 12]
            for pruner, labels in variants.items()
            for place, label in enumerate(sorted(labels, key=rank))
        }

    def of(self, label: str) -> dict[str, Any]:
        """Return the arguments for ``Axes.plot``."""
        return {"color": self._colors[self._pruner[label]], "marker": self._markers[label]}


def panels(count: int, height: float = 2.4, most: int = 3, **settings: Any) -> tuple[Figure, list[Any]]:
    """Return a figure with ``count`` axes, at most ``most`` side by side."""
    columns = min(count, most)
    rows = -(-count // columns)
    width = FULL_WIDTH if columns > 1 else 3.9
    figure = Figure(figsize=(width, height * rows + 0.6), layout="constrained")
    axes: list[Any] = figure.subplots(rows, columns, squeeze=False, **settings).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    for one in axes[:count]:
        if one.name != "polar":
            sns.despine(ax=one)
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """Draw one legend below the figure, with every label once."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    widest = 0.45 + 0.055 * max(map(len, handles), default=0)  # inches
    columns = max(1, min(columns, int(figure.get_figwidth() / widest)))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def wrap(label: str) -> str:
    """Wrap a long label over several lines."""
    return textwrap.fill(label, 24)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write the figure in all formats."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # reuse this layout for all formats
    undated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    files = [folder / f"{name}.{ending}" for ending in FORMATS]
    for file, ending in zip(files, FORMATS, strict=True):
        figure.savefig(file, metadata=undated[ending])
    return files

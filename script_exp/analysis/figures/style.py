"""One style for all figures: readable in print, in grayscale and for color-blind readers."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from script_exp.analysis.cells import rank

FORMATS = ("pdf", "svg", "png")
"""File formats that every figure is written in."""

FULL_WIDTH = 6.8  # inches: both columns of a paper
UNPRUNED: dict[str, Any] = {"color": "#222222", "linestyle": (0, (4, 2)), "linewidth": 1.0}

MARKERS = "os^DvPX<>phdH8"
MOST_IN_COLOR = 12
"""Number of methods above which only the usual ones are in color, unless others are asked for."""

_PALETTE = sns.color_palette("colorblind").as_hex()
_OTHERS = (_PALETTE[5], "#6a3d9a", _PALETTE[6], "#004d40", "#8c6d31", "#b15928", "#1a237e", "#827717")
KNOWN = {
    "none": ("#222222", "*"), "random": (_PALETTE[7], "X"), "graph": (_PALETTE[2], "^"),
    "query": (_PALETTE[0], "s"), "script": (_PALETTE[3], "o"), "script_released": (_OTHERS[1], "p"),
    "trim": (_PALETTE[1], "v"), "fastv": (_PALETTE[4], "D"), "pyramid": (_PALETTE[9], "P"),
}  # fmt: skip
"""Color and marker of methods that always look the same."""

_POOL = [
    look for marker in "<dh>pDH8v^" for color in _OTHERS if (look := (color, marker)) not in KNOWN.values()
]
KNOWN |= dict(  # published methods
    zip(
        (
            "apet", "cdpruner", "divprune", "downsample", "fastervlm", "gprune", "hiprune", "hired", "holov",
            "mmtok", "pool", "prumerge", "prumerge_plus", "prunesid", "scope", "stride", "tome", "vispruner",
            "visionzip", "vscan", "pyramiddrop", "vtw", "dart", "sparsevlm_plus", "v2drop", "fitprune",
            "himap", "feather", "sparsevlm", "mustdrop", "pact", "evs", "vidcom2", "dycoke", "fastvid",
            "prunevid", "holitom", "framefusion", "holitom_inside", "prunevid_inside", "framefusion_inside",
            "holitom_both", "prunevid_both", "framefusion_both",
        ),
        _POOL, strict=False,
    )
)  # fmt: skip

_USUAL = {"random", "graph", "query", "script"}
_REST = "other methods"
_GRAY: dict[str, Any] = {"color": "#d2d2d2", "marker": ".", "markersize": 3, "linewidth": 0.7, "zorder": 1.5}

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
    "text.hinting": "none",  # text is as wide in a file as in the layout, whatever the resolution
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
    """Color and marker of every method, the same in all figures.

    A method of ``KNOWN`` has a fixed look. That of any other follows from its name; if two names ask for the
    same one, the second in the alphabet takes the next.
    """

    def __init__(self, cells: pd.DataFrame, colored: Collection[str] | None = None) -> None:
        """Give every method its look.

        Args:
            cells: the cells to draw.
            colored: the methods (``pruner``) in color; the others are gray. None: all of them if they are at
                most ``MOST_IN_COLOR``, otherwise the usual ones, if they are among them.
        """
        pruners = set(cells["pruner"])
        if colored is None:
            colored = pruners
            if len(pruners - {"none"}) > MOST_IN_COLOR and _USUAL & pruners:
                colored = _USUAL
        self._colored = {*colored, "none"}
        self._pruner = dict(zip(cells["label"], cells["pruner"], strict=True))
        self._looks = _looks_of(pruners)
        self._variants = {
            label: place
            for _, labels in cells.groupby("pruner")["label"].unique().items()
            for place, label in enumerate(sorted(labels, key=rank))
        }

    def of(self, label: str) -> dict[str, Any]:
        """Return the arguments for ``Axes.plot``, with the label for the legend."""
        if not self.is_colored(label):
            return {"label": _REST, **_GRAY}
        color, marker = self._looks[self._pruner[label]]
        if place := self._variants[label]:
            marker = MARKERS[(MARKERS.find(marker) + place) % len(MARKERS)]
        return {"label": label, "color": color, "marker": marker}

    def is_colored(self, label: str) -> bool:
        """Return whether a method is one of those in color."""
        return self._pruner[label] in self._colored


def _looks_of(pruners: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return color and marker of every method."""
    looks = dict(KNOWN)
    for name in sorted(set(pruners) - set(KNOWN)):
        start = zlib.crc32(name.encode())
        tried = [_POOL[(start + step) % len(_POOL)] for step in range(len(_POOL))]
        taken = set(looks.values())
        looks[name] = next((look for look in tried if look not in taken), tried[0])
    return looks


def panels(count: int, height: float = 2.4, most: int = 3, **settings: Any) -> tuple[Figure, list[Any]]:
    """Return a figure with ``count`` axes, at most ``most`` side by side."""
    columns = min(count, most)
    rows = -(-count // columns)
    width = FULL_WIDTH if columns > 1 else 3.9
    margin = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.06)
    figure = Figure(figsize=(width, height * rows + 0.6), layout=margin)
    axes: list[Any] = figure.subplots(rows, columns, squeeze=False, **settings).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    for one in axes[:count]:
        if one.name != "polar":
            sns.despine(ax=one)
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """Draw one legend below the figure, with every label once; a long one makes the figure higher."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    if _REST in handles:
        handles[_REST] = handles.pop(_REST)  # the last one
    widest = 0.5 + 0.064 * max(map(len, handles))  # inches
    columns = max(1, min(columns, int(figure.get_figwidth() / widest)))
    lines = -(-len(handles) // columns)
    columns = -(-len(handles) // lines)  # no line is much shorter than the others
    figure.set_figheight(figure.get_figheight() + 0.16 * max(0, lines - 2))
    letters = int((figure.get_figwidth() - 0.7) / 0.064)
    labels = [wrap(label, letters) for label in handles]
    figure.legend(list(handles.values()), labels, loc="outside lower center", ncols=columns)


def wrap(label: str, letters: int = 24) -> str:
    """Wrap a long label over several lines."""
    return textwrap.fill(label, letters)


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

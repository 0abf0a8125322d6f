"""Figure of the tokens kept of one image: methods and budgets side by side, with maps of the scores."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from script_exp.analysis.figures.style import FULL_WIDTH
from script_exp.results.overlay import MOST_CROPS, kept_overlay

_MOST_PANELS = 5  # side by side
_GAP, _LINE, _ANSWER = 0.04, 0.13, 0.34  # inches: beside a panel, per line, below a panel
_RIGHT, _WRONG, _BETWEEN = sns.color_palette("colorblind").as_hex()[0], "#b3261e", "#555555"


@dataclass(frozen=True)
class Answer:
    """What a run answered.

    Attributes:
        method: the method with its budget.
        text: the prediction.
        score: in [0, 1]; None if a server scores.
        kept: the raster indices kept of each crop.
    """

    method: str
    text: str
    score: float | None
    kept: list[list[int]]


@dataclass(frozen=True)
class KeptPicture:
    """Everything that the figure of one sample shows.

    Attributes:
        sample: its id.
        title: which sample of which benchmark and model.
        question: the question.
        references: accepted answers.
        pictures: (crops, height, width, 3) bytes: what the tower sees.
        grid: (rows, columns) of the tokens of a crop.
        maps: (crops, n) values of the tokens, by title.
        unpruned: the answer of the unpruned run, if there is one.
        pruned: the answers of the pruned runs with what they kept, grouped by budget.
    """

    sample: str
    title: str
    question: str
    references: list[str]
    pictures: np.ndarray
    grid: tuple[int, int]
    maps: dict[str, np.ndarray]
    unpruned: Answer | None
    pruned: list[list[Answer]] = field(default_factory=list)


def kept_figure(shown: KeptPicture) -> Figure:
    """Draw the image, the maps and, in rows by budget, what every method kept; of the first five crops."""
    crops = min(len(shown.pictures), MOST_CROPS)
    groups = [1 + len(shown.maps), *map(len, shown.pruned)]
    columns = max(1, min(max(groups), _MOST_PANELS // crops))
    rows = sum(-(-count // columns) for count in groups)
    width = FULL_WIDTH / max(columns, 3 if crops == 1 else 1)
    side = width - 2 * _GAP
    height = side / crops * shown.pictures.shape[1] / shown.pictures.shape[2]
    methods = [answer.method for group in shown.pruned for answer in group]
    title_height = _LINE * max([1, *(len(_wrapped(method, side)) for method in methods)]) + 0.06
    row_height = title_height + height + _ANSWER
    heading = _heading(shown, columns * width)
    top = _LINE * 1.3 * len(heading) + 0.1
    figure = Figure(figsize=(columns * width, rows * row_height + top))
    total_width, total = figure.get_size_inches()
    for line, (text, weight) in enumerate(heading):
        figure.text(
            _GAP / total_width, 1 - (0.06 + 1.3 * _LINE * line) / total, text, va="top", weight=weight,
            parse_math=False, size=8.5 if weight == "bold" else 7.5,
        )  # fmt: skip

    def axes(row: int, column: int) -> Axes:
        bottom = total - top - row * row_height - title_height - height
        left = column * width + _GAP
        return figure.add_axes((left / total_width, bottom / total, side / total_width, height / total))

    first = axes(0, 0)
    _show(first, np.concatenate(list(shown.pictures[:crops]), axis=1), ["image"], crops)
    if shown.unpruned is not None:
        _say(first, shown.unpruned, side, f"{shown.unpruned.method}: ")
    for place, (title, values) in enumerate(shown.maps.items(), start=1):
        _show_map(axes(*divmod(place, columns)), [title], values[:crops], shown, height)
    row = -(-groups[0] // columns)
    for group in shown.pruned:
        for place, answer in enumerate(group):
            below, column = divmod(place, columns)
            one = axes(row + below, column)
            overlay = kept_overlay(shown.pictures, answer.kept, shown.grid)
            if overlay is None:
                raise ValueError(f"{answer.method}: what was kept has no place in a grid of {shown.grid}")
            _show(one, np.asarray(overlay), _wrapped(answer.method, side), crops)
            _say(one, answer, side)
        row += -(-len(group) // columns)
    return figure


def _heading(shown: KeptPicture, width: float) -> list[tuple[str, str]]:
    """Return the lines of the heading with their font weight."""
    letters = int(width / 0.072)
    question = textwrap.wrap(textwrap.shorten(shown.question, 4 * letters, placeholder=" …"), letters)
    references = textwrap.shorten(f"Accepted: {', '.join(shown.references)}", letters, placeholder=" …")
    accepted = [(references, "normal")] if shown.references else []
    return [(shown.title, "normal"), *((line, "bold") for line in question), *accepted]


def _wrapped(method: str, inches: float) -> list[str]:
    """Return up to three lines of a title that fit a panel."""
    return textwrap.wrap(method, int(inches / 0.064))[:3]


def _show(axes: Axes, picture: np.ndarray, title: list[str], crops: int) -> None:
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for border in range(1, crops):
        axes.axvline(border * picture.shape[1] / crops - 0.5, color="white", linewidth=1.2)
    axes.set_title("\n".join(title), size=7.5, pad=3, parse_math=False)


def _say(axes: Axes, answer: Answer, inches: float, before: str = "") -> None:
    """Write the answer below the picture; color and sign tell right from wrong."""
    mark, color = "", _BETWEEN
    if answer.score is not None:
        fixed = {1.0: (" ✓", _RIGHT), 0.0: (" ✗", _WRONG)}
        mark, color = fixed.get(answer.score, (f" ({answer.score:.2f})", _BETWEEN))
    letters = int(inches / 0.06)
    said = textwrap.shorten(before + (answer.text or "(nothing)"), 2 * letters - 10, placeholder=" …")
    lines = "\n".join(textwrap.wrap(said, letters)[:2])
    axes.set_xlabel(lines + mark, color=color, size=7.5, labelpad=3, parse_math=False)


def _show_map(axes: Axes, title: list[str], values: np.ndarray, shown: KeptPicture, height: float) -> None:
    """Draw the values of all tokens of some crops in color over the gray picture, ``height`` inches high."""
    crops = len(values)
    gray = np.concatenate(list(shown.pictures[:crops]), axis=1).mean(axis=2)
    _show(axes, np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), title, crops)
    grid = np.concatenate([crop.reshape(shown.grid) for crop in values], axis=1)
    image = axes.imshow(
        grid, cmap="viridis", alpha=0.75, interpolation="nearest", aspect="auto",
        extent=(-0.5, gray.shape[1] - 0.5, gray.shape[0] - 0.5, -0.5),
    )  # fmt: skip
    bar = axes.inset_axes((0.0, -0.2 / height, 1.0, 0.1 / height))
    axes.figure.colorbar(image, cax=bar, orientation="horizontal")
    bar.grid(False)
    low, high = float(grid.min()), float(grid.max())
    bar.set_xticks([low, high], [f"{low:.3g}", f"{high:.3g}"], size=6.5)
    bar.tick_params(length=0, pad=2)
    first, last = bar.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")

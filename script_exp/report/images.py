"""Figures and pictures embedded in the page, with alternative texts.

Each is an ``<img>`` with inline data. As an image, an SVG drawing keeps its element ids to itself; inlined as
elements, several drawings would share one namespace.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

import pandas as pd
from matplotlib.figure import Figure

from script_exp.analysis.cells import Cells
from script_exp.analysis.figures import draw, figures
from script_exp.analysis.figures.kept import Answer, KeptPicture, kept_figure
from script_exp.analysis.figures.style import style
from script_exp.inspection.choose import answers, side_by_side, worst_regressions

_SAID = {
    "accuracy_by_budget": (
        "Accuracy against visual tokens kept",
        "Whiskers are 95 % intervals; the dashed line with its band is the unpruned model.",
    ),
    "accuracy_by_flops": (
        "Accuracy against prefill FLOPs",
        "The gray line is the Pareto front: nothing is both cheaper and better than a point on it.",
    ),
    "accuracy_by_prefill_time": (
        "Accuracy against measured prefill time",
        "The gray line is the Pareto front: nothing is both faster and better than a point on it. "
        "Each time is relative to the unpruned model's, measured in turn with it.",
    ),
    "latency_by_stage": (
        "Time to first token by stage",
        "Medians at batch size 1, in percent of the unpruned model's time, measured in turn with it.",
    ),
    "radar": ("Share of the unpruned accuracy on every benchmark", "One radar chart per budget."),
    "sweep": ("Accuracy against one setting", "All else is equal; whiskers are 95 % intervals."),
    "overlap": (
        "Kept tokens that two methods have in common",
        "In percent of the smaller set, averaged over samples.",
    ),
}
"""Title and caption of each kind of figure."""

_AGAINST_COST = ("accuracy_by_budget", "accuracy_by_flops", "accuracy_by_prefill_time")

_PIXELS_PER_INCH = 130  # makes 8-point type as large as the text around it


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        source: a ``data:`` URL.
        width: CSS pixels.
        height: CSS pixels.
        title: what it shows.
        caption: how to read it.
        alt: the alternative text.
    """

    source: str
    width: int
    height: int
    title: str
    caption: str
    alt: str


def figure_images(cells: Cells, colored: Collection[str] | None = None) -> tuple[list[Image], list[str]]:
    """Return every figure that the runs allow, and a sentence for each kind that cannot be drawn.

    Args:
        cells: the cells to draw.
        colored: the methods in color (:class:`script_exp.analysis.figures.style.Looks`).
    """
    images: list[Image] = []

    def take(kind: str, name: str, figure: Figure) -> None:
        images.append(_figure_image(kind, name, figure))

    return images, draw(cells, take, colored)


def cost_images(cells: Cells) -> list[Image]:
    """Return the figures of accuracy against a cost; no samples are read."""
    with style():
        drawn = takewhile(
            lambda one: one[0] != "overlap", figures(cells)
        )  # the last kind, which reads samples
        return [_figure_image(*one) for one in drawn if one[0] in _AGAINST_COST]


def _figure_image(kind: str, name: str, figure: Figure) -> Image:
    title, caption = _SAID[kind]
    panels = ", ".join(one.get_title() for one in figure.axes if one.get_title())
    keys = ", ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())
    words = [title, f"Panels: {panels}" if panels else "", f"Shown: {keys}" if keys else ""]
    alt = ". ".join(filter(None, words)) + "."
    return _image(figure, "svg", f"{title} ({name})", caption, alt)


def kept_images(runs: pd.DataFrame, most: int) -> tuple[list[Image], list[str]]:
    """Return pictures of what was kept of the samples that lose most by pruning; loads the runs' model.

    Args:
        runs: runs of one model on one benchmark.
        most: the largest number of pictures.

    Returns:
        the pictures, and a sentence for everything that cannot be shown.

    Raises:
        UserError: if the runs are of several models or benchmarks, or none can be opened.
    """
    beside = side_by_side(runs[runs["weights"] != "random"])
    unread: list[str] = []
    samples = answers(beside, unread)
    beside = beside[beside["place"].isin(samples)]
    names = worst_regressions(beside, samples, most)
    if not names:
        return [], [*unread, "no sample scores lower than in the unpruned run"]

    from script_exp.inspection.pictures import Gallery  # imports torch

    gallery = Gallery.open(beside, samples)
    images = []
    for shown in gallery.pictures(names):
        with style():
            images.append(_kept_image(shown))
    return images, [*unread, *gallery.problems]


def _kept_image(shown: KeptPicture) -> Image:
    methods = [answer for budget in shown.pruned for answer in budget]
    said = [one for one in (shown.unpruned, *methods) if one is not None]
    alt = (
        f"The image, {' and '.join(shown.maps)} of its tokens, and what each method kept. "
        f"Question: {shown.question} Accepted answers: {', '.join(shown.references)}. "
        f"Answers: {'; '.join(f'{one.method}: {one.text}' for one in said)}."
    )
    return _image(kept_figure(shown), "webp", shown.title, _caption(shown.unpruned, methods), alt)


def _caption(unpruned: Answer | None, pruned: Sequence[Answer]) -> str:
    right = sum(one.score == 1 for one in pruned)
    before = "" if unpruned is None else f"The unpruned model answered “{unpruned.text}”; "
    return f"{before}{right} of {len(pruned)} pruned runs are correct."


def _image(figure: Figure, kind: str, title: str, caption: str, alt: str) -> Image:
    """Encode the figure as a drawing (svg) or as pixels (webp)."""
    buffer = io.BytesIO()
    if kind == "svg":
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    else:
        figure.savefig(buffer, format=kind, dpi=160, pil_kwargs={"quality": 85})
    mime = {"svg": "image/svg+xml", "webp": "image/webp"}[kind]
    source = f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    width, height = (round(_PIXELS_PER_INCH * side) for side in figure.get_size_inches())
    return Image(source, width, height, title, caption, alt)

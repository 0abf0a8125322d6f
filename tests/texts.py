"""Where the texts of a figure are, for the tests of figures."""

from __future__ import annotations

from itertools import combinations

from matplotlib.text import Text

from script_exp.analysis.figures.style import style

MARGIN = 0.02  # inches


def drawn_texts(figure) -> list[Text]:
    """Every text that is drawn: not the tick labels beyond the limits, nor what is hidden."""
    drawn: dict[int, Text] = {}
    draw = Text.draw

    def watched(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn[id(self)] = self
        return draw(self, renderer)

    Text.draw = watched
    try:
        figure.draw_without_rendering()
    finally:
        Text.draw = draw
    return list(drawn.values())


def check_texts(figure, name=""):
    """Every text is inside the canvas, with a margin, and no two of them overlap."""
    with style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # as it is saved: the layout of the screen at another resolution
        figure.set_dpi(200)
        texts = drawn_texts(figure)
        boxes = [text.get_window_extent() for text in texts]
    assert texts
    width, height = figure.bbox.size
    margin = MARGIN * figure.dpi
    outside = [
        text.get_text() for text, box in zip(texts, boxes, strict=True)
        if box.x0 < margin or box.y0 < margin or box.x1 > width - margin or box.y1 > height - margin
    ]  # fmt: skip
    assert not outside, f"{name}: outside the canvas: {outside}"
    # The box of a slanted text is much larger than the text.
    level = [
        (text.get_text(), box)
        for text, box in zip(texts, boxes, strict=True)
        if text.get_rotation() % 90 == 0
    ]
    overlapping = [
        (first, second) for (first, one), (second, other) in combinations(level, 2) if _overlap(one, other)
    ]
    assert not overlapping, f"{name}: {overlapping} overlap"


def _overlap(one, other):
    """Whether two boxes overlap by more than the space that belongs to a line of text."""
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return wide > 2 and high > 4

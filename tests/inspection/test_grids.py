"""Samples whose tokens form no square: what is seen, and drawn, of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from families import build, picture

from script_exp.analysis.figures.kept import Answer, KeptPicture, kept_figure
from script_exp.analysis.figures.style import style
from script_exp.errors import UserError
from script_exp.inspection.seen import kept_by, see
from script_exp.pruners import Graph


def cell_of(family, folder):
    model = build(family, folder)
    return SimpleNamespace(
        load=lambda: model, pruner=Graph(budget=3),
        settings=SimpleNamespace(model=SimpleNamespace(name=family)),
    )  # fmt: skip


def sample_of(height, width):
    return SimpleNamespace(id=f"{height} x {width}", visual=lambda: picture(height, width))


def test_tokens_are_drawn_in_their_own_grid(tmp_path):
    """36 tokens of 4 x 9 are not those of 6 x 6."""
    cell = cell_of("mistral3", tmp_path)
    square, wide = see(cell, [sample_of(168, 168), sample_of(112, 252)])
    assert square.tokens == wide.tokens == 36
    assert (square.grid, wide.grid) == ((6, 6), (4, 9))
    assert wide.pictures.shape == (1, 112, 252, 3)
    kept = kept_by(cell, wide)
    shown = KeptPicture(
        "a", "m on b", "what?", [], wide.pictures, wide.grid, {"redundancy": wide.redundancy()}, None,
        [[Answer("graph, 3", "it", 1.0, kept)]],
    )  # fmt: skip
    with style():
        figure = kept_figure(shown)
    values, overlay = (
        np.asarray(axes.images[-1].get_array()) for axes in figure.axes if axes.get_title() != "image"
    )
    assert values.shape == (4, 9)
    clear = (overlay == wide.pictures[0]).all(axis=2).reshape(4, 28, 9, 28).all(axis=(1, 3))
    assert np.flatnonzero(clear).tolist() == kept[0]


def test_tokens_without_a_grid_are_a_sentence(tmp_path):
    cell = cell_of("llava_onevision", tmp_path)
    (small,) = see(cell, [sample_of(60, 60)])
    assert small.grid == (4, 4)
    with pytest.raises(UserError, match=r"model=llava_onevision: sample 300 x 260 cannot be drawn, because"):
        next(see(cell, [sample_of(300, 260)]))  # scaled down

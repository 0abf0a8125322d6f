"""The small print of the second world: words of three to five glyphs on colored labels."""

from __future__ import annotations

import numpy as np

from script_exp.shapes.scenes import Look, SceneObject
from script_exp.shapes.sprites import COLORS, PATCH

LABEL = "label"
"""The shape of an object that carries a word; like a sign, it is never an answer and never counted."""
PRINTED = (
    "car", "cat", "can", "bar", "bat", "ban", "bin", "bit",
    "coat", "boat", "nice", "rice", "nest", "rest", "corn", "coin",
    "train", "brain", "coast", "toast", "trace", "brace", "score", "store",
)  # fmt: skip
"""The words on labels: eight of each length; every one differs from another one in a single glyph."""
LABEL_HEIGHT = 3
"""Patches that a label reserves from top to bottom; from left to right it is one patch per glyph."""
SCRAP = (150, 150, 150)
"""Mean color of scraps: labels in no color of an object, with glyphs that are no word."""

_BAND = PATCH // 2  # pixels of the board above and below the row of glyphs
_LETTER_ROWS = {
    "a": "01110 10001 10001 11111 10001 10001 10001",
    "b": "11110 10001 10001 11110 10001 10001 11110",
    "c": "01111 10000 10000 10000 10000 10000 01111",
    "e": "11111 10000 10000 11110 10000 10000 11111",
    "i": "01110 00100 00100 00100 00100 00100 01110",
    "n": "10001 11001 11101 10111 10011 10001 10001",
    "o": "01110 10001 10001 10001 10001 10001 01110",
    "r": "11110 10001 10001 11110 10100 10010 10001",
    "s": "01111 10000 10000 01110 00001 00001 11110",
    "t": "11111 00100 00100 00100 00100 00100 00100",
}
LETTERS = {
    letter: np.array([[float(bit) for bit in row] for row in rows.split()], np.float32)
    for letter, rows in _LETTER_ROWS.items()
}
"""Masks (7, 5) of the ten letters of which all words are made."""


def _paint_board(
    pixels: np.ndarray, letters: str, color: np.ndarray, corner: tuple[int, int], rng: np.random.Generator
) -> None:
    """Paint a board with one glyph per patch in its middle row; glyphs are shifted within their patch."""
    top, left = corner[0] * PATCH + PATCH - _BAND, corner[1] * PATCH
    pixels[top : top + PATCH + 2 * _BAND, left : left + len(letters) * PATCH] = color
    down, right = int(rng.integers(0, 2)), int(rng.integers(0, 4))
    for place, letter in enumerate(letters):
        row, column = top + _BAND + down, left + place * PATCH + right
        pixels[row : row + 7, column : column + 5] *= 1 - 0.95 * LETTERS[letter][..., None]


def paint_label(
    pixels: np.ndarray, look: Look, corner: tuple[int, int], rng: np.random.Generator
) -> SceneObject:
    """Paint a label whose reserved place has its top-left patch at ``corner``; its center is in the window.

    ``pixels`` is (8 * side, 8 * side, 3), float RGB.
    """
    side = pixels.shape[0] // PATCH
    width = len(look.written)
    color = np.array(COLORS[look.color], np.float32) * rng.uniform(0.9, 1.0)
    _paint_board(pixels, look.written, color, corner, rng)
    coverage = np.zeros((side, side), np.float32)
    shares = np.array([_BAND / PATCH, 1, _BAND / PATCH], np.float32)
    coverage[corner[0] : corner[0] + LABEL_HEIGHT, corner[1] : corner[1] + width] = shares[:, None]
    middle = ((corner[0] + LABEL_HEIGHT / 2) * PATCH, (corner[1] + width / 2) * PATCH)
    return SceneObject(look, middle, coverage.reshape(-1))


def paint_scrap(pixels: np.ndarray, corner: tuple[int, int], width: int, rng: np.random.Generator) -> None:
    """Paint a gray label of ``width`` random glyphs."""
    letters = "".join(rng.choice(list(LETTERS), width))
    color = (np.array(SCRAP, np.float32) + rng.normal(0, 6, 3)).astype(np.float32)
    _paint_board(pixels, letters, color, corner, rng)

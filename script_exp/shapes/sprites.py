"""The building blocks of scenes: shape masks, digit glyphs, ground textures and clutter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

PATCH = 8
"""Pixels along one side of a patch, which is one visual token."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (250, 140, 30),
    "yellow": (240, 220, 50),
    "green": (40, 180, 60),
    "cyan": (60, 210, 220),
    "blue": (50, 80, 230),
    "purple": (150, 50, 190),
    "pink": (250, 130, 200),
}
"""RGB of the object colors, in the order of the hue circle: neighbors are the near-duplicates."""

SIMILAR_SHAPE = {
    "circle": "ring",
    "ring": "circle",
    "square": "diamond",
    "diamond": "square",
    "star": "cross",
    "cross": "star",
    "triangle": "heart",
    "heart": "triangle",
}
SHAPES = tuple(SIMILAR_SHAPE)
SIGN = "sign"
"""The ninth shape: a colored board with a black digit; never an answer and never counted."""

DIGITS = tuple("0123456789")
GROUNDS: dict[str, tuple[int, int, int]] = {
    "sand": (150, 138, 108),
    "grass": (84, 108, 76),
    "water": (84, 104, 128),
    "brick": (124, 94, 84),
    "stone": (84, 86, 90),
    "snow": (176, 180, 184),
}
"""Mean RGB of the ground textures; muted, so that no ground is mistaken for an object's color."""

SIZES = (14, 20)
"""Pixels along one side of a shape; signs always take the larger size."""

_GLYPH_ROWS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 00100",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
}


def _glyph(rows: str) -> np.ndarray:
    """Return the (14, 10) mask of a 5 x 7 glyph at twice its size."""
    bits = np.array([[float(bit) for bit in row] for row in rows.split()], np.float32)
    return np.kron(bits, np.ones((2, 2), np.float32))


def _shape_mask(name: str, size: int) -> np.ndarray:
    """Return a (size, size) antialiased mask in [0, 1], drawn eight times as large and averaged down."""
    side = size * 8
    edge = 0.04 * side
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    if name in ("circle", "ring"):
        draw.ellipse([edge, edge, side - edge, side - edge], fill=255)
        if name == "ring":
            draw.ellipse([side * 0.28, side * 0.28, side * 0.72, side * 0.72], fill=0)
    elif name == "square":
        draw.rectangle([2 * edge, 2 * edge, side - 2 * edge, side - 2 * edge], fill=255)
    elif name == "diamond":
        draw.polygon(
            [(side / 2, 0), (side * 0.85, side / 2), (side / 2, side), (side * 0.15, side / 2)], fill=255
        )
    elif name == "triangle":
        draw.polygon([(side / 2, edge), (side - edge, side - edge), (edge, side - edge)], fill=255)
    elif name == "cross":
        draw.rectangle([side * 0.36, edge, side * 0.64, side - edge], fill=255)
        draw.rectangle([edge, side * 0.36, side - edge, side * 0.64], fill=255)
    elif name == "heart":
        draw.ellipse([edge, side * 0.08, side * 0.54, side * 0.55], fill=255)
        draw.ellipse([side * 0.46, side * 0.08, side - edge, side * 0.55], fill=255)
        draw.polygon(
            [(side * 0.07, side * 0.42), (side * 0.93, side * 0.42), (side / 2, side - edge)], fill=255
        )
    else:
        radii = [0.5 * side if point % 2 == 0 else 0.2 * side for point in range(10)]
        angles = [-np.pi / 2 + point * np.pi / 5 for point in range(10)]
        star = [
            (side / 2 + radius * np.cos(angle), side * 0.53 + radius * np.sin(angle))
            for radius, angle in zip(radii, angles, strict=True)
        ]
        draw.polygon(star, fill=255)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def _board_mask() -> np.ndarray:
    """Return the (20, 20) mask of a sign's board."""
    mask = np.zeros((SIZES[1], SIZES[1]), np.float32)
    mask[1:19, 2:18] = 1
    return mask


GLYPHS = {digit: _glyph(rows) for digit, rows in _GLYPH_ROWS.items()}
MASKS = {(name, size): _shape_mask(name, size) for name in SHAPES for size in SIZES} | {
    (SIGN, SIZES[1]): _board_mask()
}


def ground_tile(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return an (8, 8, 3) tile of a ground, jittered in color and contrast; float RGB."""
    relief = np.zeros((PATCH, PATCH), np.float32)
    if name == "sand":
        relief[1::4, 1::4] = 1
        relief[3::4, 3::4] = -1
    elif name == "grass":
        relief[:, 1::4] = 1
        relief[::2, 3::4] = -1
    elif name == "water":
        relief[1::4, :4] = 1
        relief[2::4, 4:] = 1
    elif name == "brick":
        relief[::4] = -1
        relief[:4, 0] = -1
        relief[4:, 4] = -1
    elif name == "stone":
        relief[1:4, 1:4] = 1
        relief[5:8, 4:7] = 1
    else:
        relief[2::4, 2::4] = 1
    color = np.array(GROUNDS[name], np.float32) + rng.normal(0, 5, 3)
    tile: np.ndarray = color + relief[..., None] * rng.uniform(10, 22)
    return tile.astype(np.float32)


def repeated_clutter(rng: np.random.Generator) -> np.ndarray:
    """Return the (8, 8, 3) high-contrast tile (window, bush or plank) of a block of clutter; float RGB."""
    kind = int(rng.integers(3))
    light = np.array([(190, 196, 176), (32, 48, 30), (96, 90, 84)][kind], np.float32)
    tile = np.tile(
        np.array([(30, 30, 34), (60, 84, 52), (168, 160, 148)][kind], np.float32), (PATCH, PATCH, 1)
    )
    tile += rng.normal(0, 8, 3).astype(np.float32)
    if kind == 0:
        tile[1:7, 1:3] = light
        tile[1:7, 5:7] = light
    elif kind == 1:
        tile[rng.random((PATCH, PATCH)) < 0.4] = light
    else:
        tile[0] = light
        tile[:, 0] = light
        tile[5:, 5:] = light
    return tile


def unique_clutter(rng: np.random.Generator) -> np.ndarray:
    """Return (8h, 8w, 3) one-off junk, h and w from 1 to 2: three muted bars on a muted color; float RGB."""
    height, width = (PATCH * rng.integers(1, 3, 2)).tolist()
    brightness = rng.uniform(30, 210)
    tile = np.tile((brightness + rng.normal(0, 14, 3)).astype(np.float32), (height, width, 1))
    for _ in range(3):
        top, left = int(rng.integers(height - 3)), int(rng.integers(width - 3))
        tall, wide = (int(length) for length in rng.integers(2, 9, 2))
        tile[top : top + tall, left : left + wide] = rng.uniform(20, 220) + rng.normal(0, 14, 3)
    return tile

"""Scenes of the second world: more clutter, near-duplicates everywhere, labels, and objects side by side.

Objects are planted so that every kind of question can be asked: two pairs of shapes beside each other, a
label below a shape, two to four signs with different digits, one shape alone with the color of a sign, and
one to four shapes that are equal in shape and color. The rest are near-duplicates of these or random.
A small window shows only some of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from script_exp.shapes.scenes import (
    CELL,
    GRID,
    MAX_COUNT,
    Look,
    Scene,
    SceneObject,
    Window,
    ground_objects,
    near_duplicate,
    paint_grounds,
    paint_object,
    scatter_clutter,
)
from script_exp.shapes.sprites import COLORS, DIGITS, PATCH, SHAPES, SIGN, SIZES
from script_exp.shapes.words import LABEL, LABEL_HEIGHT, PRINTED, paint_label, paint_scrap

BLOCKS, JUNK, SCRAPS, CHIPS = 4, 20, 3, 16
"""Mean numbers of blocks of a repeated tile, one-off junk tiles, scraps, and chips in a full scene."""
CHIP_SIZES = ((3, 4), (7, 9))
"""Pixels along the short and the long side of a chip, inclusive: it is small and never a square."""
_COLOR_NAMES = tuple(COLORS)


@dataclass
class SecondScene(Scene):
    """A scene of the second world.

    ``planted`` is a color with near-duplicates, ``absent`` is empty: every color may occur.

    Attributes:
        pairs: (first, second, relation): objects that touch, and where the first is, seen from the second:
            ``left of`` or ``above`` it.
        counted: shape and color of which counting questions ask for the number.
    """

    pairs: list[tuple[int, int, str]] = field(default_factory=list)
    counted: Look = field(default_factory=lambda: Look("", ""))


@dataclass(frozen=True)
class _Block:
    """Objects that are placed together, the second right of the first or below it."""

    looks: tuple[Look, ...]
    relation: str = ""


class _Plan:
    """Draws the looks of one scene; what questions refer to stays unique."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        colors = [_COLOR_NAMES[index] for index in rng.permutation(len(COLORS))]
        self.sign_colors, self.alone = colors[:4], colors[0]
        self.label_colors = [_COLOR_NAMES[index] for index in rng.permutation(len(COLORS))]
        self.digits = [DIGITS[index] for index in rng.permutation(len(DIGITS))]
        self.words = [PRINTED[index] for index in rng.permutation(len(PRINTED))]
        self.shapes: list[Look] = []
        self.fixed: set[Look] = set()
        self.counted = self.new_shape()

    def new_shape(self) -> Look:
        """Draw a shape that no other one may equal, in any color but the one that stays alone."""
        while True:
            look = self._random_shape()
            if look not in self.fixed:
                self.fixed.add(look)
                self.shapes.append(look)
                return look

    def _random_shape(self) -> Look:
        others = [color for color in _COLOR_NAMES if color != self.alone]
        return Look(SHAPES[self.rng.integers(len(SHAPES))], others[self.rng.integers(len(others))])

    def pair(self) -> list[_Block]:
        relation = ("left of", "above")[self.rng.integers(2)]
        return [_Block((self.new_shape(), self.new_shape()), relation)]

    def label(self) -> _Block:
        return _Block((Look(LABEL, self.label_colors.pop(), self.words.pop()),))

    def hanging_label(self) -> list[_Block]:
        return [_Block((self.new_shape(), *self.label().looks), "above")]

    def signs(self) -> list[_Block]:
        number = 2 + int(self.rng.integers(3))
        return [_Block((Look(SIGN, self.sign_colors[place], self.digits[place]),)) for place in range(number)]

    def sign_and_shape(self) -> list[_Block]:
        """A sign, and the only shape of its color."""
        shape = Look(SHAPES[self.rng.integers(len(SHAPES))], self.alone)
        self.fixed.add(shape)
        self.shapes.append(shape)
        return [_Block((shape,)), *self.signs()]

    def copies(self) -> list[_Block]:
        return [_Block((self.counted,))] * int(self.rng.integers(1, MAX_COUNT + 1))

    def labels(self) -> list[_Block]:
        return [self.label() for _ in range(int(self.rng.integers(1, 3)))]

    def filler(self) -> _Block:
        """A near-duplicate of a shape, or a random shape; never what must stay unique."""
        for _ in range(20):
            look = near_duplicate(self.shapes[self.rng.integers(len(self.shapes))], self.rng)
            if self.rng.random() < 0.3:
                look = self._random_shape()
            if look not in self.fixed and look.color != self.alone:
                return _Block((look,))
        return _Block((self.new_shape(),))


def _plan_blocks(count: int, full: bool, rng: np.random.Generator) -> tuple[list[_Block], _Plan]:
    """Return blocks with ``count`` objects together, but whole ones: a few more or less are possible."""
    plan = _Plan(rng)
    parts: list[Callable[[], list[_Block]]] = [plan.pair, plan.hanging_label, plan.sign_and_shape]
    parts += [plan.copies, plan.labels, plan.pair]
    order = range(len(parts)) if full else rng.permutation(len(parts))
    blocks: list[_Block] = []
    for place in order:
        if sum(len(block.looks) for block in blocks) >= count:
            break
        blocks += parts[place]()
    while sum(len(block.looks) for block in blocks) < count:
        blocks.append(plan.filler())
    return sorted(blocks, key=lambda block: -len(block.looks)), plan


def _size(look: Look) -> tuple[int, int]:
    """Rows and columns of patches that an object reserves."""
    return (LABEL_HEIGHT, len(look.written)) if look.shape == LABEL else (CELL, CELL)


def _free_corner(
    occupied: np.ndarray, rows: int, columns: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw a free place of rows x columns patches; None if 60 draws find none."""
    side = len(occupied)
    if max(rows, columns) > side:
        return None
    for _ in range(60):
        row, column = int(rng.integers(0, side - rows + 1)), int(rng.integers(0, side - columns + 1))
        if not occupied[row : row + rows, column : column + columns].any():
            return row, column
    return None


def _place(
    blocks: list[_Block], pixels: np.ndarray, rng: np.random.Generator
) -> tuple[list[SceneObject], list[tuple[int, int, str]]]:
    """Paint the blocks for which there is room; return the objects and the pairs among them."""
    side = pixels.shape[0] // PATCH
    occupied = np.zeros((side, side), bool)
    objects: list[SceneObject] = []
    pairs = []
    for block in blocks:
        sizes = [_size(look) for look in block.looks]
        beside = block.relation == "left of"
        spans = [size[int(beside)] for size in sizes]
        across = max(size[int(not beside)] for size in sizes)
        rows, columns = (across, sum(spans)) if beside else (sum(spans), across)
        corner = _free_corner(occupied, rows, columns, rng)
        if corner is None:
            continue
        if block.relation:
            pairs.append((len(objects), len(objects) + 1, block.relation))
        for place, (look, size) in enumerate(zip(block.looks, sizes, strict=True)):
            moved = sum(spans[:place])
            row, column = (corner[0], corner[1] + moved) if beside else (corner[0] + moved, corner[1])
            occupied[row : row + size[0], column : column + size[1]] = True
            if look.shape == LABEL:
                objects.append(paint_label(pixels, look, (row, column), rng))
            else:
                # In pairs shapes are large and so hardly shifted: what is beside what can be told.
                shapes = SIZES[1:] if block.relation else SIZES
                objects.append(paint_object(pixels, look, (row, column), rng, shapes))
    return objects, pairs


def _scatter_more_clutter(pixels: np.ndarray, bare: np.ndarray, rng: np.random.Generator) -> None:
    """Paint scraps, and chips: small bars in the colors of objects, which are no objects."""
    side = len(bare)
    share = (side / GRID) ** 2
    for _ in range(rng.poisson(SCRAPS * share)):
        width = int(rng.integers(3, 6))
        row, column = int(rng.integers(0, side - LABEL_HEIGHT + 1)), int(rng.integers(0, side - width + 1))
        paint_scrap(pixels, (row, column), width, rng)
        bare[row : row + LABEL_HEIGHT, column : column + width] = False
    for _ in range(rng.poisson(CHIPS * share)):
        sizes = [int(rng.integers(low, high + 1)) for low, high in CHIP_SIZES]
        height, width = (sizes[place] for place in rng.permutation(2))
        top, left = int(rng.integers(side * PATCH - height + 1)), int(rng.integers(side * PATCH - width + 1))
        color = np.array(COLORS[_COLOR_NAMES[rng.integers(len(COLORS))]], np.float32)
        pixels[top : top + height, left : left + width] = color * rng.uniform(0.9, 1.0)
        last_row, last_column = (top + height - 1) // PATCH, (left + width - 1) // PATCH
        bare[top // PATCH : last_row + 1, left // PATCH : last_column + 1] = False


def make_second_scene(rng: np.random.Generator, count: int, window: Window) -> SecondScene:
    """Render a scene with about ``count`` objects (fewer if no free place is found)."""
    side = window.side
    pixels, regions, names = paint_grounds(side, rng)
    bare = np.ones((side, side), bool)
    scatter_clutter(pixels, bare, side, rng, BLOCKS, JUNK)
    _scatter_more_clutter(pixels, bare, rng)
    pixels += 3 * rng.standard_normal(pixels.shape, np.float32)
    blocks, plan = _plan_blocks(count, side == GRID, rng)
    objects, pairs = _place(blocks, pixels, rng)
    offset = np.array([window.top * PATCH, window.left * PATCH])
    placed = [replace(item, center=tuple((offset + item.center).tolist())) for item in objects]
    return SecondScene(
        np.clip(pixels, 0, 255).astype(np.uint8),
        placed + ground_objects(regions, names, objects, bare, offset),
        plan.counted.color,
        "",
        len(objects) + regions.reshape(-1),
        window,
        pairs,
        plan.counted,
    )

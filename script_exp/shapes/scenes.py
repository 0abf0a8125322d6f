"""Synthetic scenes from a seed: small colored shapes and digit signs on textured, cluttered ground.

A scene is 24 x 24 patches. :func:`make_scene` can also render a smaller window, placed within a full scene.
Training on windows is cheap, and the caption of a window says more about each patch than the caption of a
whole scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from script_exp.shapes.sprites import (
    COLORS,
    DIGITS,
    GLYPHS,
    GROUNDS,
    MASKS,
    PATCH,
    SHAPES,
    SIGN,
    SIMILAR_SHAPE,
    SIZES,
    ground_tile,
    repeated_clutter,
    unique_clutter,
)

GRID = 24
"""Patches along one side of a full scene."""
IMAGE_SIZE = GRID * PATCH
"""Pixels along one side of a full scene."""
CELL = 3
"""Patches along one side of the square that one object reserves, so that objects never overlap."""
GROUND = "ground"
MAX_COUNT = 4
"""One color of every scene is planted on 1 to 4 shapes, uniformly; counting questions ask for this color."""


@dataclass(frozen=True)
class Look:
    """What an object is.

    Attributes:
        shape: its shape, or ``sign``, ``label`` (in the second world only) or ``ground``.
        color: its color, or the ground's name.
        written: the digit on a sign, or the word on a label.
    """

    shape: str
    color: str
    written: str = ""


@dataclass(frozen=True)
class SceneObject:
    """An object or a ground region.

    Attributes:
        center: (row, column) in pixels from the top left of the full 192 x 192 scene.
        coverage: (patches,) float32 in [0, 1]: share of each patch's pixels that this object covers, in
            raster order.
    """

    look: Look
    center: tuple[float, float]
    coverage: np.ndarray


@dataclass(frozen=True)
class Window:
    """The part of the 24 x 24 patch grid that is rendered; the default is all of it."""

    side: int = GRID
    top: int = 0
    left: int = 0


@dataclass
class Scene:
    """A rendered scene with everything in it.

    Attributes:
        image: (8 * side, 8 * side, 3) uint8 RGB.
        objects: shapes and signs first, then the ground regions.
        planted: the color that counting questions ask for.
        absent: a color that no object has.
        grounds: (patches,) index into ``objects`` of the ground region that each patch belongs to, covered or
            not.
    """

    image: np.ndarray
    objects: list[SceneObject]
    planted: str
    absent: str
    grounds: np.ndarray
    window: Window = Window()


FULL = Window()
_COLOR_NAMES = tuple(COLORS)


def near_duplicate(look: Look, rng: np.random.Generator) -> Look:
    """Return the same shape in a neighboring color, or the similar shape in the same color."""
    if rng.random() < 0.5:
        step = 1 if rng.random() < 0.5 else -1
        return Look(look.shape, _COLOR_NAMES[(_COLOR_NAMES.index(look.color) + step) % len(_COLOR_NAMES)])
    return Look(SIMILAR_SHAPE[look.shape], look.color)


def plan_looks(count: int, rng: np.random.Generator) -> tuple[list[Look], str, str]:
    """Return the looks of ``count`` objects, the planted color, and a color that no object has.

    Even in dense scenes up to three shapes and two colors stay unique, so that questions can refer to an
    object by one attribute. The rest is random or a near-duplicate of an earlier object.
    """
    shapes = [SHAPES[index] for index in rng.permutation(len(SHAPES))]
    colors = [_COLOR_NAMES[index] for index in rng.permutation(len(_COLOR_NAMES))]
    planted, unique, shared, absent = colors[0], colors[1:3], colors[3:7], colors[7]
    signs = 1 if rng.random() < 0.7 else int(rng.integers(0, 5))
    signs = min(signs, count // 2)
    order = rng.permutation(len(shared))
    looks = [Look(SIGN, shared[order[index]], DIGITS[rng.integers(10)]) for index in range(signs)]
    copies = min(int(rng.integers(1, MAX_COUNT + 1)), count - signs)
    named = ([planted] * copies + unique)[: count - signs]
    plain = [Look(shapes[3 + rng.integers(5)], color) for color in named]
    while len(plain) + len(looks) < count:
        look = near_duplicate(plain[rng.integers(len(plain))], rng)
        if rng.random() < 0.5 or look.shape not in shapes[3:] or look.color not in shared:
            look = Look(shapes[3 + rng.integers(5)], shared[rng.integers(len(shared))])
        plain.append(look)
    for shape, index in zip(shapes[:3], rng.permutation(len(plain)), strict=False):
        plain[index] = Look(shape, plain[index].color)
    return looks + plain, planted, absent


def paint_grounds(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Paint one, two or four regions; return pixels, the region of each patch (side, side), ground names."""
    names = [list(GROUNDS)[index] for index in rng.permutation(len(GROUNDS))]
    row, column = rng.integers(side // 3, side - side // 3 + 1, 2)
    layout = rng.integers(4)
    below = np.arange(side)[:, None] >= row if layout & 1 else np.zeros((side, 1), bool)
    right = np.arange(side)[None] >= column if layout & 2 else np.zeros((1, side), bool)
    raw = 2 * below + right
    used, regions = np.unique(raw, return_inverse=True)
    regions = regions.reshape(side, side)
    tiles = np.stack([ground_tile(name, rng) for name in names[: len(used)]])
    pixels = tiles[regions].transpose(0, 2, 1, 3, 4).reshape(side * PATCH, side * PATCH, 3)
    return np.ascontiguousarray(pixels), regions, names[: len(used)]


def scatter_clutter(
    pixels: np.ndarray,
    free: np.ndarray,
    side: int,
    rng: np.random.Generator,
    blocks: float = 3,
    junk_tiles: float = 14,
) -> None:
    """Paint blocks of one repeated tile, then one-off junk; patches that they use are no longer ``free``.

    ``blocks`` and ``junk_tiles`` are the mean numbers of both in a full scene.
    """
    share = (side / GRID) ** 2
    for _ in range(rng.poisson(blocks * share)):
        tile, step = repeated_clutter(rng), int(rng.integers(1, 3))
        top, left = rng.integers(0, side - 1, 2)
        rows, columns = int(rng.integers(1, 4)) * step, int(rng.integers(2, 7)) * step
        for row in range(top, min(side, top + rows), step):
            for column in range(left, min(side, left + columns), step):
                pixels[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = tile
                free[row, column] = False
    for _ in range(rng.poisson(junk_tiles * share)):
        junk = unique_clutter(rng)
        rows, columns = junk.shape[0] // PATCH, junk.shape[1] // PATCH
        top, left = (int(value) for value in rng.integers(0, side - 1, 2))
        pixels[top * PATCH : (top + rows) * PATCH, left * PATCH : (left + columns) * PATCH] = junk
        free[top : top + rows, left : left + columns] = False


def paint_object(
    pixels: np.ndarray,
    look: Look,
    corner: tuple[int, int],
    rng: np.random.Generator,
    sizes: tuple[int, ...] = SIZES,
) -> SceneObject:
    """Paint an object in the cell whose top-left patch is ``corner``; its center is within the window.

    A shape has one of ``sizes``, a sign the size that signs have.
    """
    side = pixels.shape[0] // PATCH
    size = SIZES[1] if look.shape == SIGN else sizes[rng.integers(len(sizes))]
    mask = MASKS[look.shape, size]
    shift_row, shift_column = (int(value) for value in rng.integers(0, CELL * PATCH - size + 1, 2))
    top, left = corner[0] * PATCH + shift_row, corner[1] * PATCH + shift_column
    area = pixels[top : top + size, left : left + size]
    color = np.array(COLORS[look.color], np.float32) * rng.uniform(0.9, 1.0)
    area += (color - area) * mask[..., None]
    if look.shape == SIGN:
        area[3:17, 5:15] *= 1 - 0.95 * GLYPHS[look.written][..., None]
    cell = np.zeros((CELL * PATCH, CELL * PATCH), np.float32)
    cell[shift_row : shift_row + size, shift_column : shift_column + size] = mask
    coverage = np.zeros((side, side), np.float32)
    shares = cell.reshape(CELL, PATCH, CELL, PATCH).mean((1, 3))
    coverage[corner[0] : corner[0] + CELL, corner[1] : corner[1] + CELL] = shares
    return SceneObject(look, (top + size / 2, left + size / 2), coverage.reshape(-1))


def ground_objects(
    regions: np.ndarray, names: list[str], objects: list[SceneObject], bare: np.ndarray, offset: np.ndarray
) -> list[SceneObject]:
    """Return the ground regions as objects, covering what neither clutter nor another object covers.

    Args:
        regions: (side, side) the region of each patch.
        names: the ground of each region.
        objects: all other objects.
        bare: (side, side) bool: patches without clutter.
        offset: (2,) row and column in pixels of the window's corner in the full scene.
    """
    seen = np.clip(bare.reshape(-1) - sum((item.coverage for item in objects), np.zeros(bare.size)), 0, 1)
    found = []
    for region, name in enumerate(names):
        inside = (regions == region).reshape(-1)
        rows, columns = np.nonzero(regions == region)
        middle = ((rows.mean() + 0.5) * PATCH + offset[0], (columns.mean() + 0.5) * PATCH + offset[1])
        found.append(SceneObject(Look(GROUND, name), middle, (inside * seen).astype(np.float32)))
    return found


def make_scene(rng: np.random.Generator, count: int, window: Window = FULL) -> Scene:
    """Render a scene with up to ``count`` objects (fewer only if no free cell is found)."""
    side = window.side
    pixels, regions, names = paint_grounds(side, rng)
    bare = np.ones((side, side), bool)
    scatter_clutter(pixels, bare, side, rng)
    pixels += 3 * rng.standard_normal(pixels.shape, np.float32)
    looks, planted, absent = plan_looks(count, rng)
    occupied = np.zeros((side, side), bool)
    objects: list[SceneObject] = []
    for look in looks:
        for _ in range(60):
            row, column = (int(value) for value in rng.integers(0, side - CELL + 1, 2))
            if not occupied[row : row + CELL, column : column + CELL].any():
                occupied[row : row + CELL, column : column + CELL] = True
                objects.append(paint_object(pixels, look, (row, column), rng))
                break
    offset = np.array([window.top * PATCH, window.left * PATCH])
    placed = [
        SceneObject(item.look, tuple((offset + item.center).tolist()), item.coverage) for item in objects
    ]
    placed += ground_objects(regions, names, objects, bare, offset)
    grounds = len(objects) + regions.reshape(-1)
    return Scene(np.clip(pixels, 0, 255).astype(np.uint8), placed, planted, absent, grounds, window)

"""Pictures for a model with crops: the first world on more ground.

A picture has up to 48 x 48 patches. Objects have the sizes of the first world, so a crop of 24 x 24 patches
shows them as its scenes do. The base view is the whole picture at 24 x 24 patches and shows them at half of
that: a digit, whose dots are two pixels wide, is small print there.
"""

from __future__ import annotations

import numpy as np

from script_exp.shapes.questions import ASKERS, KINDS, YES_NO_KINDS
from script_exp.shapes.scenes import (
    CELL,
    FULL,
    Scene,
    SceneObject,
    Window,
    ground_objects,
    paint_grounds,
    paint_object,
    plan_looks,
    scatter_clutter,
)
from script_exp.shapes.sprites import PATCH, SIGN
from script_exp.shapes.world import Question, World

PICTURES = {(48, 48): 0.5, (24, 48): 0.15, (48, 24): 0.15, (48, 36): 0.1, (36, 48): 0.1}
"""Rows and columns of patches, and how often a picture has them. In crops of 24 x 24 patches, the first fills
four, the next two fill two, and the last two leave parts of four empty."""
PICTURE_DENSITIES = ((8, 12), (14, 20), (24, 34))
"""Ranges of the number of objects in a picture, taken in turn."""


def paint_picture(
    rng: np.random.Generator, count: int, rows: int, columns: int, window: Window = FULL
) -> Scene:
    """Render rows x columns patches with up to ``count`` objects (fewer only if no free cell is found).

    A square is painted and cut, so an oblong picture has fewer regions of ground.

    Args:
        window: its place in what the model sees. The default says that this is the whole picture.
    """
    side = max(rows, columns)
    pixels, regions, names = paint_grounds(side, rng)
    bare = np.ones((side, side), bool)
    scatter_clutter(pixels, bare, side, rng)
    pixels += 3 * rng.standard_normal(pixels.shape, np.float32)
    looks, planted, absent = plan_looks(count, rng)
    occupied = np.zeros((rows, columns), bool)
    objects: list[SceneObject] = []
    for look in looks:
        for _ in range(60):
            corner = int(rng.integers(0, rows - CELL + 1)), int(rng.integers(0, columns - CELL + 1))
            cell = occupied[corner[0] : corner[0] + CELL, corner[1] : corner[1] + CELL]
            if not cell.any():
                cell[:] = True
                objects.append(paint_object(pixels, look, corner, rng))
                break
    objects = [_cut(item, side, rows, columns) for item in objects]
    seen, regions = np.unique(regions[:rows, :columns], return_inverse=True)
    regions = regions.reshape(rows, columns)
    offset = np.array([window.top * PATCH, window.left * PATCH])
    grounds = ground_objects(
        regions, [names[index] for index in seen], objects, bare[:rows, :columns], offset
    )
    placed = [
        SceneObject(item.look, tuple((offset + item.center).tolist()), item.coverage) for item in objects
    ]
    image = np.clip(pixels[: rows * PATCH, : columns * PATCH], 0, 255).astype(np.uint8)
    return Scene(image, placed + grounds, planted, absent, len(objects) + regions.reshape(-1), window)


def _cut(item: SceneObject, side: int, rows: int, columns: int) -> SceneObject:
    coverage = item.coverage.reshape(side, side)[:rows, :columns]
    return SceneObject(item.look, item.center, coverage.reshape(-1))


def _picture(rng: np.random.Generator, count: int, window: Window) -> Scene:
    """Render a whole picture of a random size."""
    rows, columns = list(PICTURES)[rng.choice(len(PICTURES), p=list(PICTURES.values()))]
    return paint_picture(rng, count, rows, columns, window)


def _view(rng: np.random.Generator, count: int, window: Window) -> Scene:
    """Render a part of a crop."""
    return paint_picture(rng, count, window.side, window.side, window)


def _digit(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    """Ask for a digit if those of the scene can be read: at half of its size, signs have none."""
    if any(item.look.shape == SIGN and not item.look.written for item in scene.objects):
        return None
    return ASKERS["digit"](scene, rng, wanted)


_ASKERS = {**ASKERS, "digit": _digit}
NEXT_WORLD = World(_picture, PICTURE_DENSITIES, _ASKERS, KINDS, YES_NO_KINDS, (3,))
"""The world of ``benchmark=shapes_next``: whole pictures."""
VIEWS = World(_view, ((5, 8), (9, 14), (16, 22)), _ASKERS, KINDS, YES_NO_KINDS, (4,))
"""Single crops of such pictures, as if they were whole: for training."""

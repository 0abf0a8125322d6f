"""Training windows of single views for the model with crops: parts of crops, and parts of base views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from script_exp.shapes.next_scenes import VIEWS, paint_picture
from script_exp.shapes.scenes import Scene
from script_exp.shapes.sprites import PATCH
from script_exp.training.naming import FIRST_NAMING, Naming
from script_exp.training.pools import PoolSizes
from script_exp.training.windows import Pool, random_window, render_pool

VIEW_NAMING = Naming(VIEWS, FIRST_NAMING.patterns, FIRST_NAMING.asked)
_NO_MASK = np.zeros(0, np.float32)
_SHRUNK = {(2, 2): 0.6, (1, 2): 0.2, (2, 1): 0.2}
"""How many patches of a picture, from top to bottom and from left to right, become one of its base view."""


def render_next_pools(seed: int, sizes: PoolSizes) -> tuple[Pool, Pool, Pool]:
    """Render all pools, each half from crops and half from base views; about two minutes on one core."""
    counts = (
        (sizes.small, 6, (1, 2), (2, 6)),
        (sizes.middle, 12, (2, 7), (5, 20)),
        (sizes.full, 24, (5, 20), (8, 34)),
    )
    small, middle, full = (
        _joined(
            render_pool(seed, windows // 2, side, near, VIEW_NAMING),
            _render_shrunk(seed, windows - windows // 2, side, far),
        )
        for windows, side, near, far in counts
    )
    return small, middle, full


def _joined(first: Pool, second: Pool) -> Pool:
    return Pool(
        np.concatenate([first.images, second.images]),
        first.scenes + second.scenes,
        np.concatenate([first.shown, second.shown]),
        first.side,
        first.naming,
    )


def _render_shrunk(seed: int, windows: int, side: int, objects: tuple[int, int]) -> Pool:
    """Render parts of base views, with an object count from an inclusive range."""
    rng = np.random.default_rng([seed, side, 1])
    images = np.empty((windows, PATCH * side, PATCH * side, 3), np.uint8)
    shown = np.zeros((windows, len(VIEW_NAMING.patterns)), bool)
    scenes = []
    for number in range(windows):
        down, across = list(_SHRUNK)[rng.choice(len(_SHRUNK), p=list(_SHRUNK.values()))]
        scene = shrunk(rng, int(rng.integers(objects[0], objects[1] + 1)), side, down, across)
        images[number] = scene.image
        for item in scene.objects:
            shown[number, VIEW_NAMING.fitting(item.look)] = True
        scenes.append(replace(scene, image=images[number]))
    return Pool(images, scenes, shown, side, VIEW_NAMING)


def shrunk(rng: np.random.Generator, count: int, side: int, down: int, across: int) -> Scene:
    """Render a part of a base view: side x side patches, made from ``down * side`` x ``across * side``.

    Supervision does not know its digits: they are too small to be learned in this training.
    """
    scene = paint_picture(rng, count, down * side, across * side, random_window(side, rng))
    size = PATCH * side, PATCH * side
    return replace(
        scene,
        image=np.asarray(Image.fromarray(scene.image).resize(size, Image.Resampling.BICUBIC)),
        objects=[
            replace(item, look=replace(item.look, written=""), coverage=_NO_MASK) for item in scene.objects
        ],
        grounds=scene.grounds.reshape(down * side, across * side)[::down, ::across].reshape(-1),
    )

"""Operations of vision towers that a :class:`TowerShape` describes, 2 per multiply-accumulate."""

from __future__ import annotations

from collections.abc import Sequence

from script_exp.models.tower_shape import TowerShape

Grid = tuple[int, int, int]
"""(t, h, w) of an image or a video in patches, before merging."""


def tower_operations(shape: TowerShape, crops: int, grids: Sequence[Grid]) -> int:
    """Count the patch embedding and all layers, for ``crops`` of one size or for ``grids`` of any size."""
    calls = [(shape.crop, shape.crop)] * crops if shape.crop else _calls(shape, grids)
    embedded = _padded(grids) if shape.mixes_images else patches_of(shape, crops, grids)
    total = 2 * embedded * shape.patch * shape.width
    for patches, keys in calls:
        tokens = patches + shape.has_class
        total += shape.layers * _layer(shape, tokens, keys + shape.has_class)
    return total


def patches_of(shape: TowerShape, crops: int, grids: Sequence[Grid]) -> int:
    """Return the patches of all crops or grids."""
    return crops * shape.crop if shape.crop else sum(t * h * w for t, h, w in grids)


def _calls(shape: TowerShape, grids: Sequence[Grid]) -> list[tuple[int, int]]:
    """Return the patches of each grid, and how many of them each one attends to: those of its frame."""
    every = sum(t * h * w for t, h, w in grids)
    return [(t * h * w, every if shape.mixes_images else h * w) for t, h, w in grids]


def _padded(grids: Sequence[Grid]) -> int:
    """Return the patches of a tensor in which images are padded to the largest height and width."""
    return len(grids) * max(h for _, h, _ in grids) * max(w for _, _, w in grids) if grids else 0


def _layer(shape: TowerShape, tokens: int, keys: int) -> int:
    """Count q, k, v, o, the MLP, and the attention of ``tokens`` queries to ``keys`` keys each."""
    d, m = shape.width, shape.mlp
    return 2 * tokens * (4 * d * d + (3 if shape.gated else 2) * d * m) + 4 * tokens * keys * d

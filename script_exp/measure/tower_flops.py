"""Operations of vision towers that a :class:`TowerShape` describes, 2 per multiply-accumulate."""

from __future__ import annotations

from collections.abc import Sequence

from script_exp.models.tower_shape import TowerShape

Grid = tuple[int, int, int]
"""(t, h, w) of an image or a video in patches, before merging."""


def tower_operations(shape: TowerShape, crops: int, grids: Sequence[Grid]) -> int:
    """Count the patch embedding and all layers, for ``crops`` of one size or for ``grids`` of any size.

    Attention never crosses frames, unless the shape says so.
    """
    d, m = shape.width, shape.mlp
    embedded = _padded(grids) if shape.mixes_images else patches_of(shape, crops, grids)
    tokens = patches_of(shape, crops, grids) + crops * shape.has_class
    total = 2 * embedded * shape.patch * d
    total += shape.layers * 2 * tokens * (4 * d * d + (3 if shape.gated else 2) * d * m)
    total += 4 * d * (shape.layers - shape.windowed) * _pairs(shape, crops, grids)
    if shape.windowed:
        windows = sum(t * _squares(h, shape) * _squares(w, shape) for t, h, w in grids)
        total += 4 * d * shape.windowed * windows
    return total + (crops * _pooling_head(shape) if shape.has_head else 0)


def patches_of(shape: TowerShape, crops: int, grids: Sequence[Grid]) -> int:
    """Return the patches of all crops or grids."""
    return crops * shape.crop if shape.crop else sum(t * h * w for t, h, w in grids)


def _pairs(shape: TowerShape, crops: int, grids: Sequence[Grid]) -> int:
    """Return how many pairs of query and key the attention of a layer without windows has."""
    if shape.crop:
        return crops * (shape.crop + shape.has_class) ** 2
    if shape.mixes_images:
        return patches_of(shape, crops, grids) ** 2
    return sum(t * (h * w) ** 2 for t, h, w in grids)


def _padded(grids: Sequence[Grid]) -> int:
    """Return the patches of a tensor in which images are padded to the largest height and width."""
    return len(grids) * max(h for _, h, _ in grids) * max(w for _, _, w in grids) if grids else 0


def _squares(length: int, shape: TowerShape) -> int:
    """Return the sum of squared window lengths when ``length`` is split; the last window may be shorter."""
    return length // shape.window * shape.window**2 + (length % shape.window) ** 2


def _pooling_head(shape: TowerShape) -> int:
    """Count SigLIP's pooling head: one learned query attends to a crop, then a two-layer MLP."""
    d, m, tokens = shape.width, shape.mlp, shape.crop_patches
    return 2 * (2 * d * d + 2 * d * m) + 2 * tokens * 2 * d * d + 4 * tokens * d

"""Pictures of what a pruner kept: the crops of an image with the dropped patches faded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from PIL import Image

_FADED = 0.25
"""Opacity of a dropped patch on white."""
MOST_CROPS = 5
"""Maximum number of crops shown per image."""


def kept_overlay(
    pictures: np.ndarray, kept: Sequence[Sequence[int]], grid: tuple[int, int]
) -> Image.Image | None:
    """Draw the first five crops side by side.

    Args:
        pictures: (crops, height, width, 3) bytes.
        kept: for each crop, the raster indices of the kept tokens.
        grid: (rows, columns) of the tokens of one crop.

    Returns:
        the picture; None if the tokens are numbered in another grid.
    """
    down, across = grid
    highest = max(chain.from_iterable(kept), default=0)
    if len(kept) != len(pictures) or highest >= down * across:
        return None
    tiles = []
    for picture, indices in list(zip(pictures, kept, strict=True))[:MOST_CROPS]:
        height, width, _ = picture.shape
        left = np.zeros(down * across, bool)
        left[list(indices)] = True
        rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
        shown = left.reshape(grid)[rows[:, None], columns][..., None]
        tiles.append(np.where(shown, picture, 255 - _FADED * (255.0 - picture)).astype(np.uint8))
    return Image.fromarray(np.concatenate(tiles, axis=1))

"""Which tokens of a clip show what a question needs, and how much of that is left after pruning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def share_kept(needed: np.ndarray, kept: Sequence[Sequence[int]], side: int) -> float:
    """Return the share of the evidence that stands at kept tokens, as the mean over the needed objects.

    Args:
        needed: (objects, T, rows, columns) the share of each patch that each needed object covers.
        kept: for each step, the raster indices of the kept tokens; a step is a frame, or as many frames as
            the tower merges (the last one may have fewer).
        side: tokens along one side of a frame, which is square.
    """
    rows, columns = (_overlaps(count, side) for count in needed.shape[2:])
    of_tokens = np.einsum("ir,otrc,jc->otij", rows, needed, columns)
    merged = -(-needed.shape[1] // len(kept))
    of_steps = np.add.reduceat(of_tokens, range(0, needed.shape[1], merged), axis=1)
    flat = of_steps.reshape(*of_steps.shape[:2], -1)
    left = sum(flat[:, step, list(places)].sum(axis=-1) for step, places in enumerate(kept))
    return float(np.mean(left / flat.sum(axis=(1, 2))))


def _overlaps(patches: int, bins: int) -> np.ndarray:
    """Return (bins, patches): how much of each of so many equal parts of a length lies in each bin."""
    edges, cuts = np.linspace(0, patches, bins + 1), np.arange(patches)
    low, high = np.maximum(edges[:-1, None], cuts), np.minimum(edges[1:, None], cuts + 1)
    return np.asarray(np.clip(high - low, 0, None))

"""Operations of what methods read of the vision tower, 2 per multiply-accumulate."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from script_exp.models.tower_shape import TowerShape
from script_exp.pruners.contract.signals import Signal


def signal_operations(
    shape: TowerShape, signals: Collection[Signal], crops: int, grids: Sequence[tuple[int, int, int]] = ()
) -> int:
    """Count the matrix products behind ``signals``; means over heads and queries have none.

    Args:
        shape: sizes of the tower.
        signals: what the method declares.
        crops: crops and frames through the tower; where it takes any size, ``grids`` determines the cost.
        grids: (t, h, w) of every image in patches, before merging; only there.
    """
    if grids:
        rows = sum(signal.kind != "keys" for signal in signals)
        return int(2 * rows * shape.width * sum(t * (h * w) ** 2 for t, h, w in grids))
    layers = {signal.layer for signal in signals}
    return crops * sum(_of_layer(signals, layer, shape) for layer in layers)


def _of_layer(signals: Collection[Signal], layer: float, shape: TowerShape) -> int:
    """Count one layer's signals for one crop."""
    width, has_class = shape.width, shape.has_class
    tokens = shape.crop_patches + has_class
    kinds = [signal.kind for signal in signals if signal.layer == layer]
    row, every = 2 * tokens * width, 2 * tokens**2 * width
    total = sum(row if has_class else every for kind in kinds if kind in ("cls", "saliency"))
    total += every * kinds.count("received")
    if {"flat_keys", "flat_saliency"} & set(kinds):  # the keys are computed once
        total += 2 * tokens * width**2
    if "flat_saliency" in kinds:
        total += 2 * (1 if has_class else tokens) * width**2 + (row if has_class else every)
    return total

"""What of a method depends on the family: budgets for images of any size, renumbered positions, frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage, ModelAdapter
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.settings import all_fields

AnyPruner = TypeVar("AnyPruner", bound=Pruner | LayerPruner)


def fitted(pruner: AnyPruner, image: EncodedImage, adapter: ModelAdapter) -> AnyPruner:
    """Return the pruner with a budget that the image can meet, for families with images of any size."""
    if isinstance(pruner, LayerPruner) or isinstance(pruner.budget, float):
        return pruner
    if not adapter.variable_size:
        return pruner
    crops, n, _ = image.visual.projected.shape
    return replace(pruner, budget=min(pruner.budget * (image.budget_crops // crops), n))


def budget_basis(pruner: LayerPruner, crops: int, entering: int, adapter: ModelAdapter) -> tuple[int, int]:
    """Return the crops of a row to prune inside the LLM, and the token count for their schedule.

    A crop counts in full, even if the model cuts off part of it as padding of the picture. If sizes vary,
    a row with no more tokens than its budget has nothing to prune: 0 crops. What is left of a share of all
    frames of a video is no multiple of them, and counts as one crop.

    Args:
        pruner: the method.
        crops: crops of the row that the budget is multiplied by.
        entering: the row's visual tokens that enter the LLM.
        adapter: of the model.
    """
    if pruner.first is not None and pruner.first.needs_frames and isinstance(pruner.first.budget, float):
        return min(crops, 1), entering
    per_crop = adapter.tokens_per_crop(adapter.model.config)
    if not adapter.variable_size and per_crop is not None:
        return crops, crops * (per_crop if pruner.first is None else pruner.first.kept_of(per_crop))
    small = isinstance(pruner.budget, int) and entering <= crops * pruner.budget
    return (0 if small else crops), entering


def budget_bases(
    pruner: LayerPruner, crops: Sequence[int], entering: Sequence[int], adapter: ModelAdapter
) -> tuple[list[int], list[int]]:
    """Return :func:`budget_basis` of several rows: the crops, and the token counts."""
    rows = [budget_basis(pruner, *row, adapter) for row in zip(crops, entering, strict=True)]
    return [number for number, _ in rows], [tokens for _, tokens in rows]


def check_renumbering(pruner: Pruner | LayerPruner, adapter: ModelAdapter | type[ModelAdapter]) -> None:
    """Raise a :class:`SettingError` if the method renumbers positions that are more than a count."""
    if isinstance(pruner, LayerPruner) and pruner.renumbers and not adapter.counts_positions:
        why = "positions of this model are places in the picture, which cannot be renumbered"
        method, composed = pruner.then, pruner.first is not None
        if "positions" in all_fields(method):
            key = "inside.positions" if composed else "positions"
            raise SettingError(key, "renumber", f"keep: {why}")
        key = "inside" if composed else "pruner"
        raise SettingError(key, type(method).__name__, f"a method that keeps positions: {why}")


def compares_frames(pruner: Pruner | LayerPruner) -> bool:
    """Return whether the method, or one of its parts, compares the frames of a video."""
    if not isinstance(pruner, LayerPruner):
        return pruner.needs_frames
    return pruner.then.needs_frames or (pruner.first is not None and pruner.first.needs_frames)

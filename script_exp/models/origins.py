"""Where the visual tokens of a prompt come from, for methods inside the LLM that need to know it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from script_exp.models.budgets import fitted
from script_exp.models.families.adapter import SEPARATOR, EncodedImage, ModelAdapter
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.layer_signals import Origin
from script_exp.pruners.contract.pruner import Pruner


def origin_of(
    images: Sequence[EncodedImage], kept: Sequence[Kept], first: Pruner | None, adapter: ModelAdapter
) -> Origin:
    """Return the origin of one prompt's visual tokens, in their order in the prompt.

    Args:
        images: of the prompt.
        kept: what ``first`` kept of each.
        first: the method that pruned before the LLM; None if nothing has.
        adapter: of the model.
    """
    columns, crops, parts = [], 0, 0
    for number, image in enumerate(images):
        n = image.visual.projected.shape[1]
        places = image.source[image.source != SEPARATOR]  # waits for the device: how many are separators
        if first is None:
            crop, place, part = places // n, places % n, places // n
        else:
            every = fitted(first, image, adapter).parts(image.visual, kept[number].places)
            crop, place, part = _kept_columns(kept[number], places, every)
        own = torch.full_like(crop, number)
        columns.append(torch.stack([own, crops + crop, place, parts + part]))
        crops, parts = crops + len(image.visual.projected), parts + 2 * len(image.visual.projected)
    return Origin(*torch.cat(columns, dim=1))


def _kept_columns(kept: Kept, places: Tensor, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return crop, place and part of what enters the LLM of one image, as :meth:`EncodedImage.keep` has it.

    Args:
        kept: what a method kept.
        places: (tokens,) crop * n + raster index of all that would enter.
        parts: the part of each of ``kept.places``.
    """
    of_place = torch.full((kept.crops * kept.n,), -1, device=places.device)
    of_place[kept.places] = parts
    stay = places[of_place[places] >= 0]  # waits for the device: how many the model has not cut off
    free, each = len(places) - len(stay), len(kept.aggregated) // kept.crops
    crops = torch.arange(kept.crops, device=places.device)
    first = crops.repeat_interleave(kept.leading)[:free]
    last = crops.repeat_interleave(each - kept.leading)[: free - len(first)]
    nowhere = [torch.full_like(crop, -1) for crop in (first, last)]
    return (
        torch.cat([first, stay // kept.n, last]),
        torch.cat([nowhere[0], stay % kept.n, nowhere[1]]),
        torch.cat([first, of_place[stay], last]),
    )

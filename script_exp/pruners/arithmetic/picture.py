"""The crops of one picture, where a method chooses over all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from script_exp.errors import check_choice
from script_exp.pruners.contract.visual_tokens import VisualTokens


def check_over(over: object) -> None:
    """Raise a :class:`SettingError` unless ``over`` is a ``crop`` or the whole ``image``."""
    check_choice("over", over, ("crop", "image"))


def picture_order(visual: VisualTokens) -> Tensor:
    """Return the places (crops * n,) of all tokens, crop * n + index, in the order of LLaVA-NeXT's prompt.

    The first crop comes first, then the rows of the whole picture, each through all crops that it crosses.
    Crops that are not parts of one picture, such as the frames of a video, follow each other.
    """
    crops, n, _ = visual.projected.shape
    places = torch.arange(crops * n, device=visual.projected.device)
    if visual.tiles is None or visual.grid is None:
        return places
    parts = places[n:].reshape(*visual.tiles, *visual.grid).transpose(1, 2)
    return torch.cat([places[:n], parts.flatten()])

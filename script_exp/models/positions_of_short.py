"""The positions of a shortened prompt, of pictures as they are and of pictures that were made smaller."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from script_exp.models.families.adapter import EncodedImage, ModelAdapter
from script_exp.models.prompt import ShortPrompt, positions_left


def positions_of_short(
    adapter: ModelAdapter,
    inputs: dict[str, Tensor],
    short: ShortPrompt,
    images: Sequence[EncodedImage],
    *,
    preserved: bool,
) -> Tensor | None:
    """Return the position ids of a shortened prompt; None if the model counts by itself.

    Where positions are places in the picture, the shortened prompt of smaller pictures is their whole prompt,
    and has the positions that the stock model gives it.

    Args:
        adapter: of the model.
        inputs: the whole prompt.
        short: what is left of it.
        images: its images.
        preserved: whether tokens keep the positions that they had in the whole prompt.
    """
    own = adapter.position_ids(inputs)
    grids = [image.grid for image in images if image.grid is not None and image.visual.smaller is not None]
    if own is None or not grids:
        return positions_left(short, inputs["attention_mask"], own, preserved=preserved)
    prompt = {"input_ids": short.input_ids, "attention_mask": short.attention_mask}
    return adapter.position_ids(prompt | {adapter.inputs[1]: torch.tensor(grids, device=own.device)})

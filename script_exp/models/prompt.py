"""Shorten a processed prompt to the kept visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ShortPrompt:
    """A prompt without the dropped placeholders, padded again on the left.

    Attributes:
        input_ids: (batch, new length).
        attention_mask: (batch, new length), 0 at padding.
        columns: (batch, new length) column of the long prompt that each token comes from; 0 at padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    columns: Tensor


def rows_of_images(input_ids: Tensor, placeholder_id: int, lengths: Sequence[int]) -> list[int]:
    """Return the row of the batch that each image belongs to.

    Args:
        input_ids: (batch, length), images in row-major order.
        placeholder_id: id of the placeholder.
        lengths: number of placeholders of each image.

    Raises:
        ValueError: if the prompt's placeholders do not match the images.
    """
    rows: list[int] = []
    # Waits for the device, before anything is chosen: the caller's prompt may not fit the images.
    for row, count in enumerate((input_ids == placeholder_id).sum(dim=1).tolist()):
        while count > 0 and len(rows) < len(lengths):
            count -= lengths[len(rows)]
            rows.append(row)
        if count != 0:
            raise ValueError(
                f"the prompt's placeholders do not match the {len(lengths)} images that were encoded"
            )
    if len(rows) != len(lengths):
        raise ValueError(
            f"{len(lengths)} images were encoded, but the prompt has placeholders for {len(rows)}"
        )
    return rows


def mark_placeholders(input_ids: Tensor, placeholder_id: int, flags: Sequence[Tensor]) -> Tensor:
    """Return (batch, length) bool: ``flags``, (length,) per image, at the placeholders; false elsewhere."""
    marked = torch.zeros_like(input_ids, dtype=torch.bool)
    if flags:
        own = torch.cat(list(flags)).to(marked.device)
        marked = marked.masked_scatter(input_ids == placeholder_id, own)  # an index would wait for the device
    return marked


def shorten_prompt(
    input_ids: Tensor, attention_mask: Tensor, placeholder_id: int, kept: Tensor, pad_token_id: int
) -> ShortPrompt:
    """Keep all text and the placeholders that are true in ``kept``.

    Args:
        input_ids: (batch, length).
        attention_mask: (batch, length), 0 at padding.
        placeholder_id: id of the placeholder.
        kept: (batch, length) from :func:`mark_placeholders`.
        pad_token_id: pads on the left.
    """
    keep = ((input_ids != placeholder_id) | kept) & attention_mask.bool()
    length = int(keep.sum(dim=1).max())  # waits for the device: it is the shape of what follows
    columns = keep.to(torch.int8).sort(dim=1, stable=True).indices[:, -length:]
    mask = keep.gather(1, columns)
    ids = input_ids.gather(1, columns).masked_fill(~mask, pad_token_id)
    return ShortPrompt(ids, mask.to(attention_mask.dtype), columns.masked_fill(~mask, 0))


def positions_left(
    short: ShortPrompt, attention_mask: Tensor, own: Tensor | None, *, preserved: bool
) -> Tensor | None:
    """Return the position ids of a shortened prompt; None if the model counts by itself.

    Args:
        short: what is left of the prompt.
        attention_mask: (batch, length) of the whole prompt.
        own: (axes, batch, length) positions of the whole prompt, of a model that does more than count.
        preserved: whether tokens keep the positions that they had in the whole prompt.

    Returns:
        (batch, new length), or (axes, batch, new length) if ``own`` has axes.
    """
    if own is not None:
        axes = own.gather(2, short.columns.expand(len(own), -1, -1))
        # transformers builds masks from the first axis.
        axes[0] = (short.attention_mask.cumsum(dim=-1) - 1).clamp(min=0)
        return axes
    if not preserved:
        return None
    count = (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)
    return count.gather(1, short.columns)

"""Shorten a processed prompt to the visual tokens that were kept."""

from __future__ import annotations

import torch
from torch import Tensor


def shorten_prompt(
    input_ids: Tensor, attention_mask: Tensor, image_token_id: int, kept: list[int], pad_token_id: int
) -> tuple[Tensor, Tensor]:
    """Leave ``kept[i]`` placeholders of the i-th image and all text, padded anew on the left.

    Which placeholders go does not matter: they are all the same id, and positions are contiguous afterwards.

    Args:
        input_ids: (batch, length), images in row-major order, each one run of placeholders.
        attention_mask: (batch, length), 0 at padding.
        image_token_id: the placeholder.
        kept: number of visual tokens that remain of each image of the batch.
        pad_token_id: fills the left.

    Returns:
        ids and mask, (batch, new length) each.

    Raises:
        ValueError: if the prompt does not hold as many images as ``kept`` has entries.
    """
    remaining = iter(kept)
    rows: list[Tensor] = []
    for ids, mask in zip(input_ids, attention_mask, strict=True):
        ids = ids[mask.bool()]
        visual = ids == image_token_id
        keep = ~visual
        for start, end in _runs(visual):
            count = next(remaining, None)
            if count is None or count > end - start:
                raise ValueError(
                    f"the prompt's placeholders do not match the images: {len(kept)} images were encoded"
                )
            keep[start : start + count] = True
        rows.append(ids[keep])
    if next(remaining, None) is not None:
        raise ValueError(f"{len(kept)} images were encoded, but the prompt has fewer")
    length = max(len(row) for row in rows)
    ids = input_ids.new_full((len(rows), length), pad_token_id)
    mask = attention_mask.new_zeros((len(rows), length))
    for i, row in enumerate(rows):
        ids[i, length - len(row) :] = row
        mask[i, length - len(row) :] = 1
    return ids, mask


def _runs(flags: Tensor) -> list[tuple[int, int]]:
    """Start and end of every run of true values in (length,)."""
    padded = torch.nn.functional.pad(flags.to(torch.int8), (1, 1))
    edges = padded.diff()
    starts, ends = (edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist()
    return list(zip(starts, ends, strict=True))

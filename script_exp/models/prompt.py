"""Shorten a processed prompt to the visual tokens that were kept."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def rows_of_images(input_ids: Tensor, image_token_id: int, lengths: Sequence[int]) -> list[int]:
    """Row of the batch that each image belongs to.

    Args:
        input_ids: (batch, length), images in row-major order.
        image_token_id: the placeholder.
        lengths: placeholders of each image.

    Raises:
        ValueError: if the prompt's placeholders are not those of these images.
    """
    rows: list[int] = []
    for row, count in enumerate((input_ids == image_token_id).sum(dim=1).tolist()):
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


def shorten_prompt(
    input_ids: Tensor,
    attention_mask: Tensor,
    image_token_id: int,
    lengths: Sequence[int],
    kept: Sequence[int],
    pad_token_id: int,
) -> tuple[Tensor, Tensor]:
    """Leave ``kept[i]`` placeholders of the i-th image and all text, padded anew on the left.

    Which placeholders go does not matter: they are all the same id, and positions are contiguous afterwards.

    Args:
        input_ids: (batch, length), images in row-major order.
        attention_mask: (batch, length), 0 at padding.
        image_token_id: the placeholder.
        lengths: placeholders of each image.
        kept: placeholders that remain of each image.
        pad_token_id: fills the left.

    Returns:
        ids and mask, (batch, new length) each.

    Raises:
        ValueError: if the prompt's placeholders are not those of these images.
    """
    owners = rows_of_images(input_ids, image_token_id, lengths)
    keep = (input_ids != image_token_id) & attention_mask.bool()
    for row in range(len(input_ids)):
        places = (input_ids[row] == image_token_id).nonzero()[:, 0]
        for image in (index for index, owner in enumerate(owners) if owner == row):
            own, places = places[: lengths[image]], places[lengths[image] :]
            keep[row, own[: kept[image]]] = True
    rows = [ids[flags] for ids, flags in zip(input_ids, keep, strict=True)]
    length = max(len(row) for row in rows)
    ids = input_ids.new_full((len(rows), length), pad_token_id)
    mask = attention_mask.new_zeros((len(rows), length))
    for i, row in enumerate(rows):
        ids[i, length - len(row) :] = row
        mask[i, length - len(row) :] = 1
    return ids, mask

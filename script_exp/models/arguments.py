"""The arguments of the LLM for a whole prompt and for a shortened one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from script_exp.models.families.adapter import EncodedImage, ModelAdapter
from script_exp.models.layer_sequence import Blocks
from script_exp.models.positions_of_short import positions_of_short
from script_exp.models.prompt import ShortPrompt


def whole_arguments(
    adapter: ModelAdapter, inputs: dict[str, Tensor], images: Sequence[EncodedImage]
) -> dict[str, Any]:
    """Return what the stock model passes to its LLM."""
    own = adapter.position_ids(inputs)  # the stock model computes them, too
    if own is not None:  # transformers builds masks from the first axis
        own[0] = (inputs["attention_mask"].cumsum(dim=-1) - 1).clamp(min=0)
    features = [image.packed for image in images]
    deep = [image.deep for image in images if image.deep is not None]
    return (
        {name: inputs[name] for name in ("input_ids", "attention_mask")}
        | ({} if own is None else {"position_ids": own})
        | adapter.more_arguments(inputs["input_ids"])
        | (adapter.encoder_outputs(features, deep) if features else {})
    )


def short_arguments(
    adapter: ModelAdapter,
    inputs: dict[str, Tensor],
    short: ShortPrompt,
    images: Sequence[EncodedImage],
    rows: Sequence[Tensor],
    features: list[Tensor],
    *,
    preserved: bool,
) -> dict[str, Any]:
    """Return the arguments of a shortened prompt.

    What the first layers add to a row (:attr:`EncodedImage.deep`) stays with its place: a token that others
    were merged into has what the model computed for the place where it stands.

    Args:
        adapter: of the model.
        inputs: the whole prompt.
        short: what is left of it.
        images: its images.
        rows: (length,) of each image, true at its rows that remain.
        features: (rows, d) of each image, what stands in these rows.
        preserved: whether tokens keep the positions that they had in the whole prompt.
    """
    positions = positions_of_short(adapter, inputs, short, images, preserved=preserved)
    # waits for the device: how many rows remain decides the shape
    deep = [image.deep[:, own] for image, own in zip(images, rows, strict=True) if image.deep is not None]
    return {
        "input_ids": short.input_ids,
        "attention_mask": short.attention_mask,
        **({} if positions is None else {"position_ids": positions}),
        **adapter.more_arguments(short.input_ids),
        **(adapter.encoder_outputs(features, deep) if features else {}),
    }


def blocks_of(adapter: ModelAdapter, arguments: dict[str, Any]) -> Blocks | None:
    """Return which tokens of a prompt see each other in both directions; None if all attention is causal."""
    number = adapter.blocks(arguments)
    if number is None:
        return None
    return Blocks(arguments["attention_mask"], number, adapter.blocks_in_window)

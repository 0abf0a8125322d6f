"""What adapters of families share that cut images into crops of one size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling


def square_grid(tokens: int) -> tuple[int, int] | None:
    """Return (rows, columns) of a square crop's tokens; None if there is a class token among them."""
    side = math.isqrt(tokens)
    return (side, side) if side**2 == tokens else None


def one_tensor(features: list[Tensor]) -> BaseModelOutputWithPooling:
    """Return the output of an encoder as one tensor, for models that take no list.

    Every token, (1, d), is an entry of its own: beam search repeats whole entries, by counting how many
    belong to each row of the batch.
    """
    return BaseModelOutputWithPooling(pooler_output=torch.cat(features)[:, None])


@contextmanager
def projector_seen(projector: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the input (``tower``) and output (``projected``) of a projector while it runs."""
    seen: dict[str, Tensor] = {}

    def keep(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen["tower"], seen["projected"] = args[0], output

    handle = projector.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()

"""What is left of a batch of prompts at some layer of the LLM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerSequence:
    """What is left of a batch of prompts at some layer; all parts are (batch, length) unless noted.

    Attributes:
        column: column in the prompt.
        token: false at padding.
        visual: true at the visual tokens.
        text: true at what asks: the tokens behind the last visual one, or the last token.
        position_embeddings: cos and sin, (..., batch or 1, length, width).
        position_ids: (batch or 1, length), if the model passes them to its layers.
    """

    column: Tensor
    token: Tensor
    visual: Tensor
    text: Tensor
    position_embeddings: tuple[Tensor, ...]
    position_ids: Tensor | None

    def take(self, index: Tensor, token: Tensor) -> LayerSequence:
        """Return the columns ``index`` (batch, kept); ``token`` is false at padding."""
        ids = self.position_ids
        return LayerSequence(
            self.column.gather(1, index),
            token,
            self.visual.gather(1, index) & token,
            self.text.gather(1, index) & token,
            tuple(take_columns(part, index) for part in self.position_embeddings),
            None if ids is None else ids.expand(len(index), -1).gather(1, index.to(ids.device)),
        )

    @property
    def start(self) -> Tensor:
        """(batch, 1) the position of each row's first token."""
        if self.position_ids is None:
            raise RuntimeError("the layers get no position ids")
        ids = self.position_ids.expand(self.token.shape)
        return ids.gather(1, self.token.to(torch.int8).argmax(dim=1, keepdim=True).to(ids.device))

    def renumbered(self, llm: Any, hidden: Tensor) -> LayerSequence:
        """Return the same with consecutive positions; ``hidden`` (batch, length, d) has their dtype."""
        ids = consecutive(self.token, self.start)
        return replace(self, position_ids=ids, position_embeddings=llm.rotary_emb(hidden, ids))


def asking(placeholder: Tensor, token: Tensor) -> Tensor:
    """Return (batch, length) what lies behind the last placeholder; the last column where there is nothing.

    Args:
        placeholder: (batch, length) true at an image's tokens and separators.
        token: (batch, length) false at padding.
    """
    seen = placeholder.cumsum(dim=1)
    behind = (seen == seen[:, -1:]) & (seen > 0) & ~placeholder & token
    behind[:, -1] |= ~behind.any(dim=1)
    return behind


def consecutive(token: Tensor, start: Tensor) -> Tensor:
    """Return positions (batch, length) that count the tokens from ``start`` (batch, 1) on."""
    return (token.to(start.device).cumsum(dim=1) - 1 + start).clamp(min=0)


def left_padded(order: Tensor) -> Tensor:
    """Return the columns (batch, longest) in ``order`` (batch, length), padded on the left.

    Those with a negative number are left out; they are what pads.
    """
    length = int((order >= 0).sum(dim=1).max())
    return order.sort(dim=1, stable=True).indices[:, -length:]


def take_columns(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the columns ``index`` (batch, kept) of ``tensor`` (..., batch or 1, length, width)."""
    *outer, _, length, width = tensor.shape
    full = tensor.expand(*outer, len(index), length, width)
    return full.gather(-2, index.to(tensor.device)[..., None].expand(*outer, *index.shape, width))

"""What is left of a batch of prompts at some layer of the LLM."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Blocks(NamedTuple):
    """Which tokens of a prompt see each other in both directions, where a model makes its masks itself.

    Attributes:
        mask: (batch, length) attention mask of the prompt.
        number: (batch, length) number of a token's block, -1 for tokens that see only what stands before.
        in_window: whether a sliding window also hides tokens of one block from each other, as in Gemma 3.
    """

    mask: Tensor
    number: Tensor
    in_window: bool


@dataclass(frozen=True)
class LayerSequence:
    """What is left of a batch of prompts at some layer; all parts are (batch, length) unless noted.

    Attributes:
        column: column in the prompt.
        token: false at padding.
        visual: true at the visual tokens.
        text: true at what asks: the tokens behind the last visual one, or the last token.
        position_ids: (batch or 1, length), if the model passes them to its layers.
        renumbered: whether these are not those of the prompt.
        block: number of the block of tokens that see each other, -1 elsewhere; None if all attention is
            causal.
        block_in_window: :attr:`Blocks.in_window`.
    """

    column: Tensor
    token: Tensor
    visual: Tensor
    text: Tensor
    position_ids: Tensor | None
    renumbered: bool = False
    block: Tensor | None = None
    block_in_window: bool = False

    def take(self, index: Tensor, token: Tensor) -> LayerSequence:
        """Return the columns ``index`` (batch, kept); ``token`` is false at padding."""
        ids = self.position_ids
        return replace(
            self,
            column=self.column.gather(1, index),
            token=token,
            visual=self.visual.gather(1, index) & token,
            text=self.text.gather(1, index) & token,
            position_ids=None if ids is None else ids.expand(len(index), -1).gather(1, index.to(ids.device)),
            block=None if self.block is None else self.block.gather(1, index).masked_fill(~token, -1),
        )

    @property
    def start(self) -> Tensor:
        """(batch, 1) the position of each row's first token."""
        if self.position_ids is None:
            raise RuntimeError("the layers get no position ids")
        ids = self.position_ids.expand(self.token.shape)
        return ids.gather(1, self.token.to(torch.int8).argmax(dim=1, keepdim=True).to(ids.device))

    def renumber(self) -> LayerSequence:
        """Return the same with consecutive positions."""
        return replace(self, position_ids=consecutive(self.token, self.start), renumbered=True)

    def rotary(self, llm: Any, index: int, hidden: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return cos and sin of a layer, (..., batch or 1, length, width).

        Args:
            llm: the decoder.
            index: the layer.
            hidden: (batch, length, d) has the dtype of what is computed anew.
            own: what the model hands to this layer, for the whole prompt.
        """
        if self.renumbered and self.position_ids is not None:
            return rotary_of(llm, index, hidden, self.position_ids)
        return tuple(take_columns(part, self.column) for part in own)


def rotary_of(llm: Any, index: int, hidden: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    """Compute cos and sin of a layer at the positions ``ids``; kinds of layers may have different ropes."""
    several = "layer_type" in inspect.signature(llm.rotary_emb.forward).parameters
    kind = (llm.config.layer_types[index],) if several else ()
    return llm.rotary_emb(hidden, ids.to(hidden.device), *kind)  # type: ignore[no-any-return]


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
    length = int((order >= 0).sum(dim=1).max())  # waits for the device: it is the shape of what follows
    return order.sort(dim=1, stable=True).indices[:, -length:]


def take_columns(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the columns ``index`` (batch, kept) of ``tensor`` (..., batch or 1, length, width)."""
    *outer, _, length, width = tensor.shape
    full = tensor.expand(*outer, len(index), length, width)
    return full.gather(-2, index.to(tensor.device)[..., None].expand(*outer, *index.shape, width))

"""What decoder layers behind a stage get besides hidden states: masks, position ids and rotary embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from transformers.masking_utils import (
    blockwise_overlay,
    create_causal_mask,
    create_recurrent_attention_mask,
    create_sliding_window_causal_mask,
    sliding_window_overlay,
)

from script_exp.errors import UserError
from script_exp.models.attention_rows import weighted
from script_exp.models.cache_name import CACHE
from script_exp.models.layer_kinds import LINEAR, kind_of, window_of
from script_exp.models.layer_sequence import LayerSequence, consecutive, rotary_of

_Place: TypeAlias = tuple[int, str, torch.device]
_MASKS = {
    "full_attention": create_causal_mask,
    "sliding_attention": create_sliding_window_causal_mask,
    LINEAR: create_recurrent_attention_mask,
}


class LayerArguments:
    """The arguments of one generation's layers, each computed once per forward pass, stage and device.

    Attributes:
        kept: for each stage that has run, the mask (batch, kept) of what it left, true at tokens.
        weights: for each stage that has run, log(size) of these tokens (batch, kept); None for 0 each.
        starts: for each stage that has run, the position (batch, 1) of the first token, if it renumbers.
        mask: (batch, length) of this forward pass, as the caller passed it.
        sequence: at prefill, what the last stage left of the prompt.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        self.kept: dict[int, Tensor] = {}
        self.weights: dict[int, Tensor | None] = {}
        self.starts: dict[int, Tensor] = {}
        self.begin(None)

    def begin(self, mask: Tensor | None) -> None:
        """Begin a forward pass."""
        self.mask, self.sequence = mask, None
        self._masks: dict[_Place, Any] = {}
        self._positions: dict[_Place, tuple[Tensor, tuple[Tensor, ...]]] = {}

    @property
    def sequence(self) -> LayerSequence | None:
        return self._sequence

    @sequence.setter
    def sequence(self, sequence: LayerSequence | None) -> None:
        self._sequence = sequence
        self._rotary: dict[int, tuple[Any, tuple[Tensor, ...]]] = {}

    def rotary(self, index: int, hidden: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return cos and sin of :attr:`sequence` in a layer; ``own`` are what it gets of the whole prompt.

        Layers of different kinds may have different ropes.
        """
        if self.sequence is None:
            raise RuntimeError(f"layer {index} runs before the prompt was seen")
        if id(own) not in self._rotary:  # own is kept, so that nothing else gets its identity
            self._rotary[id(own)] = own, self.sequence.rotary(self.llm, index, hidden, own)
        return self._rotary[id(own)][1]

    def attention_mask(self, stage: int, index: int, hidden: Tensor, cache: Any) -> Any:
        """Return the mask of layer ``index``, in the form that its attention kernel takes."""
        kind = kind_of(self.llm.config, index)
        place = stage, kind, hidden.device
        if place not in self._masks:
            token, weights = self._tokens(stage, index, hidden, cache), self.weights.get(stage)
            make, overlays = self._blocks(index, hidden)
            mask = make(
                config=self.llm.config,
                inputs_embeds=hidden,
                attention_mask=token,
                **{CACHE: cache},
                layer_idx=index,
                allow_is_causal_skip=weights is None,
                **overlays,
            )
            if weights is not None:
                since = token.shape[1] - weights.shape[1]
                mask = weighted(mask, functional.pad(weights, (0, since)).to(hidden))
            self._masks[place] = mask
        return self._masks[place]

    def _blocks(self, index: int, hidden: Tensor) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return what makes the mask of layer ``index``, and its arguments about blocks of tokens.

        A sliding window is: (window and causal) or block; and where it ends blocks: window and (causal or
        block).
        """
        make, sequence = _MASKS[kind_of(self.llm.config, index)], self.sequence
        if sequence is None or sequence.block is None:
            return make, {}
        block, window = sequence.block.to(hidden.device), window_of(self.llm.config, index)
        if window is None or not sequence.block_in_window:
            return make, {"block_sequence_ids": block}
        overlays = {"or_mask_function": blockwise_overlay(block)}
        return create_causal_mask, overlays | {"and_mask_function": sliding_window_overlay(window)}

    def positions(
        self, stage: int, index: int, hidden: Tensor, cache: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return position ids and embeddings of new tokens, which go on from what the stage left."""
        place = stage, kind_of(self.llm.config, index), hidden.device
        if place not in self._positions:
            every = consecutive(self._tokens(stage, index, hidden, cache), self.starts[stage])
            ids = every[:, -hidden.shape[1] :].to(hidden.device)
            self._positions[place] = ids, rotary_of(self.llm, index, hidden, ids)
        return self._positions[place]

    def _tokens(self, stage: int, index: int, hidden: Tensor, cache: Any) -> Tensor:
        """Return (batch, length) of layer ``index``, its cache included: false at padding.

        The state of a layer of linear attention has no length: of what follows the prompt, only new tokens.
        """
        kept = self.kept.get(stage)
        if kept is None:
            raise RuntimeError("decoding started before the prompt was pruned")
        if self.sequence is not None:
            return kept
        new, linear = hidden.shape[1], kind_of(self.llm.config, index) == LINEAR
        if not linear:
            new += cache.get_seq_length(index) - kept.shape[1]
        since = kept.new_ones(len(kept), new)
        if self.mask is not None:
            since = self.mask[:, -new:].to(kept)
        return since if linear else torch.cat([kept, since], dim=1)


def check_prunable(mask: Any, cache: Any) -> None:
    """Check what an LLM is called with.

    Args:
        mask: its attention mask.
        cache: its cache.

    Raises:
        UserError: for a static cache, or for a mask that is not (batch, length): which tokens see each other
            is then the model's own secret, and a shortened mask cannot be made.
    """
    if getattr(cache, "is_compileable", False):
        raise UserError(
            "pruning inside the LLM: expected a dynamic cache; a static one fixes every layer's length"
        )
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        raise UserError(
            "pruning inside the LLM: this model says in masks of its own which tokens see each other; "
            "expected a method that prunes before the LLM"
        )


def check_layers(config: Any, first: int, layers: int) -> None:
    """Raise a :class:`UserError` if a layer from ``first`` on is of no kind whose mask can be made here."""
    unknown = {kind_of(config, index) for index in range(first, layers)} - _MASKS.keys()
    if unknown:
        raise UserError(
            f"pruning inside the LLM: its layers are of type {', '.join(sorted(unknown))}; "
            f"expected {' or '.join(_MASKS)}"
        )

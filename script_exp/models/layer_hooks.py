"""Drop visual tokens between two decoder layers of a running LLM, by hooks alone.

The tokens leave the hidden states, the rotary embeddings, the position ids and the masks of all later
layers, and so never enter their caches. They are chosen once, at prefill; while decoding only the mask has
to fit the shorter caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask

from script_exp.errors import UserError
from script_exp.models.attention_rows import last_row_attention
from script_exp.pruners.base import top_indices
from script_exp.pruners.layer import LayerPruner


@dataclass
class _Drop:
    """What one forward pass needs to know at every layer from the pruned one on."""

    attention_mask: Tensor | None
    position_embeddings: tuple[Tensor, Tensor] | None = None
    position_ids: Tensor | None = None


class _Session:
    """One generation: the choice made at prefill and the masks that follow from it."""

    def __init__(self, llm: Any, pruner: LayerPruner, visual: Tensor, crops: list[int]) -> None:
        self.llm, self.pruner, self.visual, self.crops = llm, pruner, visual, crops
        self.row: Tensor | None = None
        self.mask: Tensor | None = None  # (batch, length) of this forward, 1 = token, as the caller gave it
        self.kept_mask: Tensor | None = None  # (batch, kept length) of the prefill after pruning
        self.drop = _Drop(None)

    def receive_row(self, row: Tensor) -> None:
        self.row = row

    def before_llm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.mask = kwargs.get("attention_mask")
        if self.mask is not None and (not isinstance(self.mask, Tensor) or self.mask.ndim != 2):
            raise UserError(
                "pruning inside the LLM: expected a dynamic cache; a static one fixes every layer's length"
            )

    def before_pruned_layer(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0]
        cache = kwargs.get("past_key_values")
        if cache is None or cache.get_seq_length(self.pruner.layer) == 0:
            self._check_prompt(hidden)
            index, self.kept_mask = self._choose(hidden)
            hidden = _take(hidden, index)
            self.drop = _Drop(
                create_causal_mask(
                    config=self.llm.config,
                    inputs_embeds=hidden,
                    attention_mask=self.kept_mask,
                    past_key_values=None,
                ),
                tuple(_take(part, index) for part in kwargs["position_embeddings"]),  # type: ignore[arg-type]
                _take_ids(kwargs.get("position_ids"), index),
            )
        else:
            self.drop = _Drop(self._decoding_mask(hidden, cache))
        return self.before_later_layer(_, (hidden, *args[1:]), kwargs)

    def before_later_layer(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs["attention_mask"] = self.drop.attention_mask
        if self.drop.position_embeddings is not None:
            kwargs["position_embeddings"] = self.drop.position_embeddings
            kwargs["position_ids"] = self.drop.position_ids
        return args, kwargs

    def _check_prompt(self, hidden: Tensor) -> None:
        """Fit the prompt's rows to the batch: beams run several copies of each row."""
        if hidden.shape[1] != self.visual.shape[1]:
            raise UserError(
                "pruning inside the LLM: expected use_cache=True; tokens are dropped once, at prefill"
            )
        copies = hidden.shape[0] // self.visual.shape[0]
        self.visual = self.visual.repeat_interleave(copies, dim=0)
        self.crops = [crops for crops in self.crops for _ in range(copies)]

    def _choose(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Positions to keep (batch, length), left-padded, and their mask (batch, length)."""
        if self.row is None:
            raise RuntimeError("the layer before the pruned one has not run")
        layers = len(self.llm.layers)
        token = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        if self.mask is not None:
            token = self.mask.bool().to(hidden.device)
        keep = token & ~self.visual.to(hidden.device)
        rows = zip(self.row, self.visual.to(hidden.device), self.crops, strict=True)
        for row, (attention, visual, crops) in enumerate(rows):
            places = visual.nonzero()[:, 0]
            if crops:
                count = crops * self.pruner.kept_after(len(places) // crops, layers)
                best = top_indices(self.pruner.score(attention[:, places]), count)
                keep[row, places[best]] = True
        length = int(keep.sum(dim=1).max())
        order = keep.to(torch.int8).sort(dim=1, stable=True).indices[:, -length:]
        return order, keep.gather(1, order).long()

    def _decoding_mask(self, hidden: Tensor, cache: Any) -> Any:
        if self.kept_mask is None:
            raise RuntimeError("decoding started before the prompt was pruned")
        past = cache.get_seq_length(self.pruner.layer)
        new = past + hidden.shape[1] - self.kept_mask.shape[1]
        mask = torch.cat([self.kept_mask, self.kept_mask.new_ones(hidden.shape[0], new)], dim=1)
        return create_causal_mask(
            config=self.llm.config,
            inputs_embeds=hidden,
            attention_mask=mask,
            past_key_values=cache,
            layer_idx=self.pruner.layer,
        )


@contextmanager
def layer_pruning(llm: Any, pruner: LayerPruner, visual: Tensor, crops: list[int]) -> Iterator[None]:
    """Run ``pruner`` inside ``llm`` for one ``generate`` or for forward passes that share one cache.

    Args:
        llm: the decoder (``model.model.language_model``), with ``layers`` and ``config``.
        pruner: which layer, how many, and how to rank.
        visual: (batch, length) true at the visual tokens of the prompt that will be run.
        crops: number of crops in each row; the budget is per crop.

    Raises:
        SettingError: if the LLM has no such layer or the budget cannot be met.
        UserError: for a static cache, or without a cache.
    """
    layers = llm.layers
    for row, count in zip(visual, crops, strict=True):
        if count:
            pruner.kept_after(int(row.sum()) // count, len(layers))
    session = _Session(llm, pruner, visual, crops)
    with ExitStack() as stack:
        hooks = [llm.register_forward_pre_hook(session.before_llm, with_kwargs=True)]
        for index in range(pruner.layer, len(layers)):
            hook = session.before_pruned_layer if index == pruner.layer else session.before_later_layer
            hooks.append(layers[index].register_forward_pre_hook(hook, with_kwargs=True))
        for handle in hooks:
            stack.callback(handle.remove)
        stack.enter_context(last_row_attention(layers[pruner.layer - 1].self_attn, session.receive_row))
        yield


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` (batch, kept) of ``tensor`` (batch or 1, length, width)."""
    full = tensor.expand(index.shape[0], *tensor.shape[1:])
    return full.gather(1, index[..., None].expand(-1, -1, tensor.shape[-1]))


def _take_ids(ids: Tensor | None, index: Tensor) -> Tensor | None:
    return None if ids is None else ids.expand(index.shape[0], -1).gather(1, index)

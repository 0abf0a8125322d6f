"""Drop visual tokens between decoder layers of a running LLM, at one or more stages, using only hooks.

The tokens are removed from the hidden states, the rotary embeddings, the position ids and the masks of all
later layers, so they never enter the KV caches of these layers. They are chosen once, at prefill; each stage
chooses among the tokens that the previous one left. During decoding, only the masks have to fit the shorter
caches. Kept tokens keep their positions; a sliding window counts the remaining tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from script_exp.errors import UserError
from script_exp.models.attention_rows import last_row_attention
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import check_finite, top_indices

_MASKS = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}


@dataclass
class _Sequence:
    """What is left of a prompt at some layer; all parts are (batch, length) unless noted.

    Attributes:
        column: column in the prompt.
        token: false at padding.
        visual: true at the visual tokens.
        position_embeddings: cos and sin, (..., batch or 1, length, width).
        position_ids: (batch or 1, length), if the model passes them to its layers.
    """

    column: Tensor
    token: Tensor
    visual: Tensor
    position_embeddings: tuple[Tensor, ...]
    position_ids: Tensor | None

    def take(self, index: Tensor, token: Tensor) -> _Sequence:
        """Return the columns ``index`` (batch, kept); ``token`` is false at padding."""
        ids = self.position_ids
        return _Sequence(
            self.column.gather(1, index),
            token,
            self.visual.gather(1, index) & token,
            tuple(_take(part, index) for part in self.position_embeddings),
            None if ids is None else ids.expand(len(index), -1).gather(1, index.to(ids.device)),
        )


class LayerPruning:
    """The state of one generation: the choices made at prefill, and the masks that follow from them.

    Attributes:
        remaining: (batch, length) the visual tokens of the prompt that the stages so far have left, for
            every beam.
        schedules: for each row of the prompt, the counts by the stages' layers.
        kept: for each stage that has run, the mask (batch, kept) of what it left, true at tokens.
        mask: (batch, length) of this forward pass, as the caller passed it.
        sequence: at prefill, what the last stage left of the prompt.
        masks: attention masks of this forward pass, by stage and kind of layer.
        row: attention of the last token, (batch, heads, length), in the layer before the next stage.
    """

    def __init__(
        self, llm: Any, pruner: LayerPruner, visual: Tensor, schedules: list[dict[int, int]]
    ) -> None:
        self.llm, self.pruner, self.visual, self.schedules = llm, pruner, visual, schedules
        self.remaining = visual
        self.kept: dict[int, Tensor] = {}
        self.mask: Tensor | None = None
        self.sequence: _Sequence | None = None
        self.masks: dict[tuple[int, str], Any] = {}
        self.row: Tensor | None = None
        self.reading = ExitStack()

    def before_llm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.mask, self.sequence, self.masks = kwargs.get("attention_mask"), None, {}
        if self.mask is not None and (not isinstance(self.mask, Tensor) or self.mask.ndim != 2):
            raise UserError(
                "pruning inside the LLM: expected a dynamic cache; a static one fixes every layer's length"
            )

    def before_ranking(self, index: int, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _is_prefill(kwargs, index):
            self.reading.enter_context(last_row_attention(layer.self_attn, self.receive_row))

    def receive_row(self, row: Tensor) -> None:
        self.row = row

    def after_ranking(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.reading.close()

    def before_layer(
        self, stage: int, index: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        hidden, *rest = args
        if index == stage and _is_prefill(kwargs, index):
            hidden = self._drop(stage, hidden, kwargs)
        if self.sequence is not None:
            kwargs["position_embeddings"] = self.sequence.position_embeddings
            kwargs["position_ids"] = self.sequence.position_ids
        kwargs["attention_mask"] = self._attention_mask(stage, index, hidden, kwargs.get("past_key_values"))
        return (hidden, *rest), kwargs

    def _drop(self, stage: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Return the hidden states of the tokens that stay, left-padded."""
        sequence = self.sequence or self._prompt(hidden, kwargs)
        if self.row is None:
            raise RuntimeError(f"the layer before layer {stage} has not run")
        keep = self._choose(stage, sequence, self.row.to(sequence.token.device))
        length = int(keep.sum(dim=1).max())
        index = keep.to(torch.int8).sort(dim=1, stable=True).indices[:, -length:]
        self.kept[stage], self.row = keep.gather(1, index), None
        self.sequence = sequence.take(index, self.kept[stage])
        nothing = self.sequence.visual.new_zeros(len(index), self.visual.shape[1])
        self.remaining = nothing.scatter(1, self.sequence.column, self.sequence.visual)
        return _take(hidden, index)

    def _prompt(self, hidden: Tensor, kwargs: dict[str, Any]) -> _Sequence:
        """Return the whole prompt. Beam search runs several copies of each row."""
        if hidden.shape[1] != self.visual.shape[1]:
            raise UserError(
                "pruning inside the LLM: expected use_cache=True and the whole prompt in one forward pass; "
                "tokens are dropped once, at prefill"
            )
        visual = self.visual.to(hidden.device).repeat_interleave(len(hidden) // len(self.visual), dim=0)
        token = torch.ones_like(visual) if self.mask is None else self.mask.to(hidden.device).bool()
        column = torch.arange(visual.shape[1], device=hidden.device).expand(visual.shape)
        return _Sequence(column, token, visual, kwargs["position_embeddings"], kwargs.get("position_ids"))

    def _choose(self, stage: int, sequence: _Sequence, attention: Tensor) -> Tensor:
        """Return what stays of ``sequence``: (batch, length)."""
        keep = sequence.token & ~sequence.visual
        copies = len(keep) // len(self.schedules)
        ranked = []
        for row, visual in enumerate(sequence.visual):
            places, count = visual.nonzero()[:, 0], self.schedules[row // copies][stage]
            scores = self.pruner.score(attention[row][:, places])
            keep[row, places[top_indices(scores, count)]] = True
            if count < len(places):
                ranked.append(scores)
        check_finite(self.pruner, "attention scores", ranked)
        return keep

    def _attention_mask(self, stage: int, index: int, hidden: Tensor, cache: Any) -> Any:
        """Return the mask of layer ``index``, in the form that its attention kernel takes."""
        kind = _kind(self.llm.config, index)
        if (stage, kind) not in self.masks:
            kept = self.kept.get(stage)
            if kept is None:
                raise RuntimeError("decoding started before the prompt was pruned")
            past = 0 if cache is None else cache.get_seq_length(index)
            new = past + hidden.shape[1] - kept.shape[1]
            since = kept.new_ones(len(kept), new)
            if self.mask is not None and new:
                since = self.mask[:, -new:].to(kept)
            self.masks[stage, kind] = _MASKS[kind](
                config=self.llm.config,
                inputs_embeds=hidden,
                attention_mask=torch.cat([kept, since], dim=1),
                past_key_values=cache,
                layer_idx=index,
            )
        return self.masks[stage, kind]


@contextmanager
def layer_pruning(
    llm: Any,
    pruner: LayerPruner,
    visual: Tensor,
    crops: Sequence[int],
    tokens: Sequence[int] | None = None,
) -> Iterator[LayerPruning]:
    """Run ``pruner`` inside ``llm`` for one ``generate`` or for forward passes that share one cache.

    Args:
        llm: the decoder (``model.model.language_model``), with ``layers`` and ``config``.
        pruner: the method, with its stages, counts and ranking.
        visual: (batch, length) true at the visual tokens of the prompt that will be run. Marked separators
            are ranked and dropped like visual tokens; others stay like text.
        crops: number of crops in each row; the budget is per crop. 0 for a row that keeps all its tokens.
        tokens: token count of each row that determines its schedule (:meth:`LayerPruner.row_schedule`);
            None for the number marked in ``visual``.

    Raises:
        SettingError: if the LLM has no such layer or the budget cannot be met.
        UserError: for a static cache, without a cache, or for layers with neither full nor sliding
            attention.
    """
    layers = len(llm.layers)
    marked = visual.sum(dim=1).tolist()
    given = [None] * len(marked) if tokens is None else tokens
    schedules = [
        pruner.row_schedule(count, number, layers, basis)
        for count, number, basis in zip(marked, crops, given, strict=True)
    ]
    stages = sorted(schedules[0])
    unknown = {_kind(llm.config, index) for index in range(stages[0], layers)} - _MASKS.keys()
    if unknown:
        raise UserError(
            f"pruning inside the LLM: its layers are of type {', '.join(sorted(unknown))}; "
            f"expected {' or '.join(_MASKS)}"
        )
    session = LayerPruning(llm, pruner, visual, schedules)
    with ExitStack() as stack:
        stack.callback(session.reading.close)
        hooks = [llm.register_forward_pre_hook(session.before_llm, with_kwargs=True)]
        for stage, end in zip(stages, [*stages[1:], layers], strict=True):
            for index in range(stage, end):
                hook = partial(session.before_layer, stage, index)
                hooks.append(llm.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
            ranking = llm.layers[stage - 1]
            before = partial(session.before_ranking, stage - 1)
            hooks.append(ranking.register_forward_pre_hook(before, with_kwargs=True))
            hooks.append(ranking.register_forward_hook(session.after_ranking, always_call=True))
        for handle in hooks:
            stack.callback(handle.remove)
        yield session


def _is_prefill(kwargs: dict[str, Any], index: int) -> bool:
    cache = kwargs.get("past_key_values")
    return cache is None or cache.get_seq_length(index) == 0


def _kind(config: Any, index: int) -> str:
    """Return a layer's kind of attention in transformers; configs without ``layer_types`` have one kind."""
    types = getattr(config, "layer_types", None)
    if types is not None:
        return str(types[index])
    return "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the columns ``index`` (batch, kept) of ``tensor`` (..., batch or 1, length, width)."""
    *outer, _, length, width = tensor.shape
    full = tensor.expand(*outer, len(index), length, width)
    return full.gather(-2, index.to(tensor.device)[..., None].expand(*outer, *index.shape, width))

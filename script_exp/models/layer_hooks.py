"""Drop visual tokens between decoder layers of a running LLM, at one or more stages, using only hooks.

The tokens are removed from the hidden states, the rotary embeddings, the position ids and the masks of all
later layers, so they never enter the KV caches of these layers. They are chosen once, at prefill; each stage
chooses among the tokens that the previous one left. During decoding, only the masks have to fit the shorter
caches. Kept tokens keep their positions, or take consecutive ones if the method says so, and then decoding
goes on from these. A sliding window counts the remaining tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from script_exp.errors import UserError
from script_exp.models.attention_rows import attention_inputs
from script_exp.models.deepstack import deep_rows_kept
from script_exp.models.layer_reading import StageReading, check_readable, kind_of
from script_exp.models.layer_sequence import LayerSequence, asking, consecutive, left_padded, take_columns
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, States

_MASKS = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}


class LayerPruning:
    """The state of one generation: the choices made at prefill, and the masks that follow from them.

    Attributes:
        remaining: (batch, length) the visual tokens of the prompt that the stages so far have left, for
            every beam.
        schedules: for each row of the prompt, the counts by the stages' layers.
        stages: the layers before which some row drops tokens.
        grids: for each row, the place of its visual tokens in :attr:`LayerState.grid`.
        kept: for each stage that has run, the mask (batch, kept) of what it left, true at tokens.
        starts: for each stage that has run, the position (batch, 1) of the first token, if it renumbers.
        mask: (batch, length) of this forward pass, as the caller passed it.
        embeddings: (batch, length, d) what enters the LLM, while a stage may still read it.
        sequence: at prefill, what the last stage left of the prompt.
        masks: attention masks of this forward pass, by stage and kind of layer.
        positions: position ids and embeddings of this forward pass, by stage, if the method renumbers.
        reading: what the next stage reads.
        prepared: what the method prepared for each row of the batch.
    """

    def __init__(
        self,
        llm: Any,
        pruner: LayerPruner,
        visual: Tensor,
        schedules: list[dict[int, int]],
        placeholder: Tensor,
        grids: Sequence[Tensor | None],
    ) -> None:
        self.llm, self.pruner, self.visual, self.schedules = llm, pruner, visual, schedules
        self.placeholder, self.grids = placeholder, grids
        self.stages = sorted(set().union(*schedules))
        self.remaining = visual
        self.kept: dict[int, Tensor] = {}
        self.starts: dict[int, Tensor] = {}
        self.mask: Tensor | None = None
        self.embeddings: Tensor | None = None
        self.sequence: LayerSequence | None = None
        self.masks: dict[tuple[int, str], Any] = {}
        self.positions: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}
        self.reading: StageReading | None = None
        self.prepared: list[Tensor | None] = []
        self.kernel = ExitStack()

    def before_llm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.mask, self.sequence, self.masks, self.positions = kwargs.get("attention_mask"), None, {}, {}
        if self.mask is not None and (not isinstance(self.mask, Tensor) or self.mask.ndim != 2):
            raise UserError(
                "pruning inside the LLM: expected a dynamic cache; a static one fixes every layer's length"
            )

    def before_first(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.embeddings = args[0] if _is_prefill(kwargs, 0) else None

    def before_ranking(self, stage: int, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin to read what ``stage`` needs, before the layer in front of it runs."""
        if not _is_prefill(kwargs, stage - 1):
            return
        hidden, number = args[0], self.stages.index(stage)
        self.sequence = self.sequence or self._prompt(hidden, kwargs)
        signals = self.pruner.reads_at(number)
        self.reading = StageReading(self.llm, stage, signals, self.sequence, self.embeddings)
        self.reading.before(hidden)
        if any(signal.of_kernel for signal in signals):
            self.kernel.enter_context(attention_inputs(layer.self_attn, self.reading.kernel))

    def after_ranking(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.kernel.close()

    def before_layer(
        self, stage: int, index: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        hidden, *rest = args
        cache = kwargs.get("past_key_values")
        prefill = _is_prefill(kwargs, index)
        if index == stage and prefill:
            hidden = self._drop(stage, hidden)
        if self.sequence is not None:
            kwargs["position_embeddings"] = self.sequence.position_embeddings
            kwargs["position_ids"] = self.sequence.position_ids
        elif self.pruner.renumbers:
            kwargs["position_ids"], kwargs["position_embeddings"] = self._positions(
                stage, index, hidden, cache
            )
        kwargs["attention_mask"] = self._attention_mask(stage, index, hidden, cache)
        return (hidden, *rest), kwargs

    def _drop(self, stage: int, hidden: Tensor) -> Tensor:
        """Return the hidden states of the tokens that stay, left-padded."""
        reading, sequence = self.reading, self.sequence
        if reading is None or sequence is None or reading.stage != stage:
            raise RuntimeError(f"the layer before layer {stage} has not run")
        reading.entry(hidden)
        keep = self._choose(reading, sequence)
        index = left_padded(keep)
        self.kept[stage], self.reading = keep.gather(1, index), None
        sequence, hidden = sequence.take(index, self.kept[stage]), take_columns(hidden, index)
        if stage == self.stages[-1]:
            self.embeddings = None
        if self.pruner.renumbers:
            sequence = sequence.renumbered(self.llm, hidden)
            self.starts[stage] = sequence.start
        nothing = sequence.visual.new_zeros(len(index), self.visual.shape[1])
        self.remaining, self.sequence = nothing.scatter(1, sequence.column, sequence.visual), sequence
        return hidden

    def _prompt(self, hidden: Tensor, kwargs: dict[str, Any]) -> LayerSequence:
        """Return the whole prompt. Beam search runs several copies of each row."""
        if hidden.shape[1] != self.visual.shape[1]:
            raise UserError(
                "pruning inside the LLM: expected use_cache=True and the whole prompt in one forward pass; "
                "tokens are dropped once, at prefill"
            )
        copies = len(hidden) // len(self.visual)
        visual, placeholder = (
            marked.to(hidden.device).repeat_interleave(copies, dim=0)
            for marked in (self.visual, self.placeholder)
        )
        token = torch.ones_like(visual) if self.mask is None else self.mask.to(hidden.device).bool()
        column = torch.arange(visual.shape[1], device=hidden.device).expand(visual.shape)
        rotary, ids = kwargs["position_embeddings"], kwargs.get("position_ids")
        return LayerSequence(column, token, visual, asking(placeholder, token), rotary, ids)

    def _choose(self, reading: StageReading, sequence: LayerSequence) -> Tensor:
        """Return what stays of ``sequence``: (batch, length)."""
        keep = sequence.token & ~sequence.visual
        number, copies = self.stages.index(reading.stage), len(keep) // len(self.schedules)
        if number == 0:
            self.prepared = [None] * len(keep)
        for row, columns in enumerate(reading.columns["visual"]):
            count = self.schedules[row // copies].get(reading.stage, len(columns))
            count = min(count, len(columns))
            if count == len(columns):
                keep[row, columns] = True
            if count in (0, len(columns)):
                continue
            order = self.visual[row // copies].to(columns.device).cumsum(dim=0) - 1
            state = LayerState(
                number,
                order[sequence.column[row, columns]],
                reading.of_row(row),
                _on(self.grids[row // copies], columns.device),
            )
            if number == 0:
                self.prepared[row] = self.pruner.prepare(state)
            chosen = self.pruner.select(replace(state, prepared=self.prepared[row]), count)
            if chosen.shape != (count,):
                name = type(self.pruner).__name__
                raise ValueError(f"{name} selected {tuple(chosen.shape)} of {len(columns)} for count={count}")
            keep[row, columns[chosen]] = True
        return keep

    def _attention_mask(self, stage: int, index: int, hidden: Tensor, cache: Any) -> Any:
        """Return the mask of layer ``index``, in the form that its attention kernel takes."""
        kind = kind_of(self.llm.config, index)
        if (stage, kind) not in self.masks:
            self.masks[stage, kind] = _MASKS[kind](
                config=self.llm.config,
                inputs_embeds=hidden,
                attention_mask=self._tokens(stage, index, hidden, cache),
                past_key_values=cache,
                layer_idx=index,
            )
        return self.masks[stage, kind]

    def _positions(
        self, stage: int, index: int, hidden: Tensor, cache: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return position ids and embeddings of new tokens, which go on from what the stage left."""
        if stage not in self.positions:
            every = consecutive(self._tokens(stage, index, hidden, cache), self.starts[stage])
            ids = every[:, -hidden.shape[1] :].to(hidden.device)
            self.positions[stage] = ids, self.llm.rotary_emb(hidden, ids)
        return self.positions[stage]

    def _tokens(self, stage: int, index: int, hidden: Tensor, cache: Any) -> Tensor:
        """Return (batch, length) of layer ``index``, its cache included: false at padding."""
        kept = self.kept.get(stage)
        if kept is None:
            raise RuntimeError("decoding started before the prompt was pruned")
        past = 0 if cache is None else cache.get_seq_length(index)
        new = past + hidden.shape[1] - kept.shape[1]
        since = kept.new_ones(len(kept), new)
        if self.mask is not None and new:
            since = self.mask[:, -new:].to(kept)
        return torch.cat([kept, since], dim=1)


@contextmanager
def layer_pruning(
    llm: Any,
    pruner: LayerPruner,
    visual: Tensor,
    crops: Sequence[int],
    tokens: Sequence[int] | None = None,
    placeholder: Tensor | None = None,
    grids: Sequence[Tensor | None] | None = None,
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
        placeholder: (batch, length) true at visual tokens and all separators: the text that asks comes behind
            them. None for ``visual``.
        grids: for each row :attr:`LayerState.grid`; None where no row has one.

    Raises:
        SettingError: if the LLM has no such layer or the budget cannot be met.
        UserError: for a static cache, without a cache, for layers with neither full nor sliding attention, or
            without what the method reads.
    """
    layers = len(llm.layers)
    marked = visual.sum(dim=1).tolist()
    given = [None] * len(marked) if tokens is None else tokens
    schedules = [
        pruner.row_schedule(count, number, layers, basis)
        for count, number, basis in zip(marked, crops, given, strict=True)
    ]
    session = LayerPruning(
        llm,
        pruner,
        visual,
        schedules,
        visual if placeholder is None else placeholder,
        [None] * len(marked) if grids is None else grids,
    )
    stages = session.stages
    unknown = {kind_of(llm.config, index) for index in range(min(stages, default=layers), layers)}
    if unknown - _MASKS.keys():
        raise UserError(
            f"pruning inside the LLM: its layers are of type {', '.join(sorted(unknown - _MASKS.keys()))}; "
            f"expected {' or '.join(_MASKS)}"
        )
    reads = frozenset[LayerSignal]().union(*(pruner.reads_at(number) for number in range(len(stages))))
    check_readable(llm, reads)
    with ExitStack() as stack:
        stack.callback(session.kernel.close)
        stack.enter_context(deep_rows_kept(llm, lambda: session.sequence))
        hooks = [llm.register_forward_pre_hook(session.before_llm, with_kwargs=True)]
        if any(isinstance(name, States) and name.kind == "embeddings" for name in reads):
            hooks.append(llm.layers[0].register_forward_pre_hook(session.before_first, with_kwargs=True))
        for stage, end in zip(stages, [*stages[1:], layers], strict=False):
            for index in range(stage, end):
                hook = partial(session.before_layer, stage, index)
                hooks.append(llm.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
            ranking = llm.layers[stage - 1]
            before = partial(session.before_ranking, stage)
            hooks.append(ranking.register_forward_pre_hook(before, with_kwargs=True))
            hooks.append(ranking.register_forward_hook(session.after_ranking, always_call=True))
        for handle in hooks:
            stack.callback(handle.remove)
        yield session


def _is_prefill(kwargs: dict[str, Any], index: int) -> bool:
    cache = kwargs.get("past_key_values")
    return cache is None or cache.get_seq_length(index) == 0


def _on(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)

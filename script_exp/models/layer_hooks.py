"""Drop visual tokens between decoder layers of a running LLM, at one or more stages, using only hooks.

The tokens are removed from the hidden states, the rotary embeddings, the position ids and the masks of all
later layers, so they never enter the KV caches of these layers. They are chosen once, at prefill; each stage
chooses among the tokens that the previous one left. During decoding, only the masks have to fit the shorter
caches. Kept tokens keep their positions, or take consecutive ones if the method says so, and then decoding
goes on from these. Tokens that a method merges enter the stage merged. A sliding window counts the remaining
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from script_exp.errors import UserError
from script_exp.models.attention_rows import attention_inputs
from script_exp.models.cache_name import CACHE
from script_exp.models.deepstack import deep_rows_kept
from script_exp.models.layer_arguments import LayerArguments, check_layers, check_prunable
from script_exp.models.layer_choices import LayerChoices
from script_exp.models.layer_kinds import LINEAR, kind_of
from script_exp.models.layer_reading import StageReading, check_linear, check_readable, check_weighing
from script_exp.models.layer_sequence import Blocks, LayerSequence, asking, left_padded, take_columns
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LayerSignal, States, TokensKnown


class LayerPruning:
    """The state of one generation: the choices made at prefill, and the masks that follow from them.

    Attributes:
        remaining: (batch, length) the visual tokens of the prompt that the stages so far have left, for
            every beam.
        choices: chooses what the stages leave of each row.
        stages: the layers before which some row drops tokens.
        arguments: what the layers get besides hidden states.
        embeddings: (batch, length, d) what enters the LLM, while a stage may still read it.
        reading: what the next stage reads.
        prefill: whether this forward pass runs the prompt.
    """

    def __init__(
        self,
        llm: Any,
        pruner: LayerPruner,
        visual: Tensor,
        choices: LayerChoices,
        placeholder: Tensor,
        blocks: Blocks | None = None,
    ) -> None:
        self.llm, self.pruner, self.visual = llm, pruner, visual
        self.placeholder, self.choices, self.blocks = placeholder, choices, blocks
        self.stages = sorted(set().union(*choices.schedules))
        self.remaining = visual
        self.arguments = LayerArguments(llm)
        self.embeddings: Tensor | None = None
        self.reading: StageReading | None = None
        self.kernel = ExitStack()
        self.prefill = True

    def before_llm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask, cache = kwargs.get("attention_mask"), kwargs.get(CACHE)
        self.prefill = cache is None or cache.get_seq_length() == 0
        if self.blocks is not None:  # the model has made masks of it for each kind of layer
            mask = self.blocks.mask if self.prefill else None
        check_prunable(mask, cache)
        self.arguments.begin(mask)

    def before_first(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.embeddings = args[0] if self.prefill else None

    def before_ranking(self, stage: int, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin to read what ``stage`` needs, before the layer in front of it runs."""
        if not self.prefill:
            return
        hidden, number = args[0], self.stages.index(stage)
        sequence = self.arguments.sequence or self._prompt(hidden, kwargs)
        signals = self.pruner.reads_at(number)
        rotary = kwargs["position_embeddings"]  # behind a stage, before_layer has already shortened it
        self.arguments.sequence = sequence
        self.reading = StageReading(self.llm, stage, signals, sequence, self.embeddings, rotary)
        self.reading.before(hidden)
        if any(signal.of_kernel for signal in signals):
            self.kernel.enter_context(attention_inputs(layer.self_attn, self.reading.kernel))

    def after_ranking(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.kernel.close()

    def before_layer(
        self, stage: int, index: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        hidden, *rest = args
        cache = kwargs.get(CACHE)
        if index == stage and self.prefill:
            hidden = self._drop(stage, hidden, kwargs["position_embeddings"])
        arguments = self.arguments
        if arguments.sequence is not None:
            kwargs["position_embeddings"] = arguments.rotary(index, hidden, kwargs["position_embeddings"])
            kwargs["position_ids"] = arguments.sequence.position_ids
        elif self.pruner.renumbers and kind_of(self.llm.config, index) != LINEAR:
            kwargs["position_ids"], kwargs["position_embeddings"] = arguments.positions(
                stage, index, hidden, cache
            )
        kwargs["attention_mask"] = arguments.attention_mask(stage, index, hidden, cache)
        return (hidden, *rest), kwargs

    def _drop(self, stage: int, hidden: Tensor, rotary: tuple[Tensor, ...]) -> Tensor:
        """Return the hidden states of the tokens that stay, left-padded."""
        reading, sequence = self.reading, self.arguments.sequence
        if reading is None or sequence is None or reading.stage != stage:
            raise RuntimeError(f"the layer before layer {stage} has not run")
        reading.entry(hidden, self.arguments.rotary(stage, hidden, rotary))
        order, hidden, sizes = self.choices.at(self.stages.index(stage), reading, sequence, hidden)
        index = left_padded(order)
        self.arguments.weights[stage] = None if sizes is None else sizes.gather(1, index).log()
        kept = self.arguments.kept[stage] = order.gather(1, index) >= 0
        self.reading = None
        sequence, hidden = sequence.take(index, kept), take_columns(hidden, index)
        if stage == self.stages[-1]:
            self.embeddings = None
        if self.pruner.renumbers:
            sequence = sequence.renumber()
            self.arguments.starts[stage] = sequence.start
        nothing = sequence.visual.new_zeros(len(index), self.visual.shape[1])
        self.remaining = nothing.scatter(1, sequence.column, sequence.visual)
        self.arguments.sequence = sequence
        return hidden

    def _prompt(self, hidden: Tensor, kwargs: dict[str, Any]) -> LayerSequence:
        """Return the whole prompt. Beam search runs several copies of each row."""
        if hidden.shape[1] != self.visual.shape[1]:
            raise UserError(
                "pruning inside the LLM: expected use_cache=True, and the whole prompt, alone, in one "
                "forward pass, without prefill_chunk_size and assisted generation; tokens are dropped once, "
                "at prefill"
            )
        copies = len(hidden) // len(self.visual)
        visual, placeholder = (
            marked.to(hidden.device).repeat_interleave(copies, dim=0)
            for marked in (self.visual, self.placeholder)
        )
        mask = self.arguments.mask
        token = torch.ones_like(visual) if mask is None else mask.to(hidden.device).bool()
        block, in_window = None, False
        if self.blocks is not None:
            in_window = self.blocks.in_window
            token, block = (
                part.to(hidden.device).repeat_interleave(copies, dim=0)
                for part in (self.blocks.mask.bool(), self.blocks.number)
            )
        column = torch.arange(visual.shape[1], device=hidden.device).expand(visual.shape)
        return LayerSequence(
            column,
            token,
            visual,
            asking(placeholder, token),
            kwargs.get("position_ids"),
            block=block,
            block_in_window=in_window,
        )


@contextmanager
def layer_pruning(
    llm: Any,
    pruner: LayerPruner,
    visual: Tensor,
    crops: Sequence[int],
    tokens: Sequence[int] | None = None,
    placeholder: Tensor | None = None,
    known: Sequence[TokensKnown] | None = None,
    blocks: Blocks | None = None,
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
        known: for each row :attr:`LayerState.known`; None where nothing is known.
        blocks: which tokens of the prompt see each other; None if all attention is causal.

    Raises:
        SettingError: if the LLM has no such layer, the budget cannot be met, or a stage reads the attention
            of a layer that has none.
        UserError: for a static cache, without a cache, for a kind of attention that has no mask here, or
            without what the method reads.
    """
    layers = len(llm.layers)
    marked = visual.sum(dim=1).tolist()  # waits for the device: the counts of the stages follow from these
    given = [None] * len(marked) if tokens is None else tokens
    schedules = [
        pruner.row_schedule(count, number, layers, basis)
        for count, number, basis in zip(marked, crops, given, strict=True)
    ]
    known = [TokensKnown()] * len(marked) if known is None else known
    choices = LayerChoices(pruner, visual, schedules, known)
    session = LayerPruning(
        llm, pruner, visual, choices, visual if placeholder is None else placeholder, blocks
    )
    stages = session.stages
    check_layers(llm.config, min(stages, default=layers), layers)
    check_linear(llm.config, pruner, layers)
    if pruner.weighs:
        check_weighing(type(pruner).__name__, llm.config._attn_implementation)
    reads = frozenset[LayerSignal]().union(*(pruner.reads_at(number) for number in range(len(stages))))
    check_readable(llm, reads)
    with ExitStack() as stack:
        stack.callback(session.kernel.close)
        stack.enter_context(deep_rows_kept(llm, lambda: session.arguments.sequence))
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

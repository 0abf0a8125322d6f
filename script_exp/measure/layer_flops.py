"""Operations of a method inside the LLM, 2 per multiply-accumulate: what it reads and what it multiplies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from script_exp.measure.flops import attention_row, head_dim
from script_exp.models.layer_sequence import asking
from script_exp.models.prunable import PrunableModel
from script_exp.models.stage_outputs import PrunedPrompt
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LAST_ROW, LayerSignal, Rows, StageSizes


def inside_operations(model: PrunableModel, prompt: PrunedPrompt) -> list[int]:
    """Count what the method inside the LLM costs in each row, without the rows of the last token.

    Those follow from the lengths alone (:func:`last_rows`); the others depend on the text behind the image.
    """
    if prompt.layer_pruner is None:
        return [0] * len(prompt.before)
    pruner = prompt.layer_pruner.then
    ids, token = prompt.arguments["input_ids"], prompt.arguments["attention_mask"].bool()
    behind = asking(ids == model.adapter.placeholder_id, token)
    text, lengths = torch.stack([behind.sum(dim=1), token.sum(dim=1)]).tolist()  # one wait for the device
    config, gated = model.model.config.text_config, model.adapter.gates_attention
    totals = []
    for row, length in enumerate(lengths):
        visual = prompt.entering[row]
        schedule = model.schedule(prompt.layer_pruner, visual, prompt.budget_crops[row])
        sizes = visual, length - visual, text[row]
        totals.append(stage_operations(config, pruner, schedule, *sizes, gated=gated))
    return totals


def stage_operations(
    config: Any,
    pruner: LayerPruner,
    schedule: Mapping[int, int],
    visual: int,
    others: int,
    text: int,
    *,
    gated: bool = False,
) -> int:
    """Count what a method inside the LLM costs in one prompt, without the rows of the last token.

    Args:
        config: config of the LLM.
        pruner: the method.
        schedule: visual tokens that remain from each stage's layer on.
        visual: visual tokens that enter the LLM.
        others: all other tokens of the prompt.
        text: those of them that stand behind the last visual token.
        gated: :attr:`FamilyTraits.gates_attention`.
    """
    total, least = 0, min(schedule.values(), default=visual)
    if least < visual:
        first = sizes_of(config, visual, schedule[min(schedule)], text)
        total += pruner.preparing_operations(first)
    for number, stage in enumerate(sorted(schedule)):
        signals = pruner.reads_at(number) - {LAST_ROW}
        total += read_operations(config, signals, visual + others, visual, text, gated=gated)
        if schedule[stage] < visual:
            total += pruner.operations(number, sizes_of(config, visual, schedule[stage], text))
        visual = min(visual, schedule[stage])
    return total


def sizes_of(config: Any, visual: int, count: int, text: int) -> StageSizes:
    """Return the sizes of a stage in an LLM with this config; arguments as in :class:`StageSizes`."""
    head = head_dim(config)
    return StageSizes(visual, count, text, config.hidden_size, head, config.num_key_value_heads * head)


def last_rows(pruner: LayerPruner, schedule: Collection[int]) -> list[int]:
    """Return the stages' layers, of those in ``schedule``, that read the last token's row."""
    return [stage for number, stage in enumerate(sorted(schedule)) if LAST_ROW in pruner.reads_at(number)]


def read_operations(
    config: Any,
    signals: Collection[LayerSignal],
    length: int,
    visual: int,
    text: int,
    *,
    gated: bool = False,
) -> int:
    """Count the attention rows and the stage's own keys; what the LLM computes anyway costs nothing.

    Args:
        config: config of the LLM.
        signals: what the stage reads.
        length: tokens that the layer before the stage sees.
        visual: visual tokens among them.
        text: tokens behind the last visual one.
        gated: :attr:`FamilyTraits.gates_attention`: gates are projected with the queries.
    """
    rows_of = {"last": 1, "text": text, "visual": visual, "before_text": 1}
    total = 0
    for name in signals:
        if isinstance(name, Rows):
            rows = queries = rows_of[name.of]
            seen = length
            if name.of == "before_text":  # one row, the mean of as many queries as it sees keys
                queries = seen = length - text
            total += rows * attention_row(config, seen)
            if name.projected:
                heads = queries * config.num_attention_heads * (2 if gated else 1)
                heads += seen * config.num_key_value_heads
                total += 2 * config.hidden_size * heads * head_dim(config)
        elif name.projected:
            total += 2 * config.hidden_size * visual * config.num_key_value_heads * head_dim(config)
    return int(total)

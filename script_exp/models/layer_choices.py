"""What the stages of a method inside the LLM leave of each prompt of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from script_exp.models.layer_reading import StageReading
from script_exp.models.layer_sequence import LayerSequence
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LayerState, StageChoice, TokensKnown


class LayerChoices:
    """Asks a method, stage by stage and prompt by prompt.

    Attributes:
        schedules: for each row of the prompt, the counts by the stages' layers.
        prepared: what the method prepared for each row of the batch; beam search runs copies of each prompt.

    Args:
        visual: (batch, length) true at the visual tokens of the prompt.
        known: for each row :attr:`LayerState.known`.
    """

    def __init__(
        self,
        pruner: LayerPruner,
        visual: Tensor,
        schedules: list[dict[int, int]],
        known: Sequence[TokensKnown],
    ) -> None:
        self.pruner, self.visual, self.schedules, self.known = pruner, visual, schedules, known
        self.prepared: list[Tensor | None] = []

    def at(
        self, number: int, reading: StageReading, sequence: LayerSequence, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what stays of ``sequence`` at a stage, the hidden states with merged tokens, and sizes.

        Args:
            number: of the stage, from 0.
            hidden: (batch, length, d) what enters the stage.

        Returns:
            (batch, length) numbers that give the order of what stays, negative at what leaves, and
            (batch, length, d), and (batch, length) how many tokens each stands for; None for 1 each.
        """
        visual = sequence.visual
        place = torch.arange(visual.shape[1], device=visual.device).expand(visual.shape) * visual.shape[1]
        order, copies = place.masked_fill(visual | ~sequence.token, -1), len(visual) // len(self.schedules)
        sizes: Tensor | None = None
        if number == 0:
            self.prepared = [None] * len(visual)
        for row, columns in enumerate(reading.columns["visual"]):
            schedule = self.schedules[row // copies]
            count = min(schedule.get(reading.stage, len(columns)), len(columns))
            if number == 0 and min(schedule.values(), default=count) < len(columns):
                state = self._state(number, row, copies, reading, sequence)
                self.prepared[row] = self.pruner.prepare(state)
            if count == len(columns):
                order[row, columns] = place[row, columns]
            if count in (0, len(columns)):
                continue
            choice = self._choice(self._state(number, row, copies, reading, sequence), count)
            stay = columns[choice.chosen]
            order[row, stay] = place[row, stay]
            if choice.moved:
                behind = torch.arange(1, choice.moved + 1, device=place.device)
                order[row, stay[-choice.moved :]] = place[row, columns[-1]] + behind
            if choice.states is not None:
                hidden = hidden.clone()
                hidden[row, stay.to(hidden.device)] = choice.states.to(hidden)
            if choice.sizes is not None:
                sizes = torch.ones(order.shape, device=order.device) if sizes is None else sizes
                sizes[row, stay] = choice.sizes
        return order, hidden, sizes

    def _state(
        self, number: int, row: int, copies: int, reading: StageReading, sequence: LayerSequence
    ) -> LayerState:
        """Return one row of the batch at a stage."""
        columns, prompt = reading.columns["visual"][row], row // copies
        rank = self.visual[prompt].to(columns.device).cumsum(dim=0) - 1
        return LayerState(
            number,
            rank[sequence.column[row, columns]],
            reading.of_row(row),
            self.known[prompt].to(columns.device),
            self.prepared[row],
        )

    def _choice(self, state: LayerState, count: int) -> StageChoice:
        """Return what the method leaves, ``count`` tokens."""
        choice = self.pruner.choose(state, count)
        if choice.chosen.shape != (count,):
            name, shape = type(self.pruner).__name__, tuple(choice.chosen.shape)
            raise ValueError(f"{name} selected {shape} of {len(state.places)} for count={count}")
        return choice

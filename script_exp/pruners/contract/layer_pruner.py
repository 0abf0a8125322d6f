"""The interface of methods that prune inside the LLM."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from script_exp.errors import SettingError, check_choice
from script_exp.pruners.contract.budget import check_budget, tokens_kept
from script_exp.pruners.contract.layer_signals import (
    LAST_ROW,
    LayerSignal,
    LayerState,
    Rows,
    StageChoice,
    StageSizes,
)
from script_exp.pruners.contract.pruner import Pruner, check_finite, top_indices
from script_exp.pruners.contract.signals import NOTHING, Reads


@dataclass(kw_only=True)
class LayerPruner(ABC):
    """A method that drops visual tokens between decoder layers during prefill, at one or more stages.

    A subclass defines the layers before which tokens are dropped (:meth:`stage_layers`), how many tokens each
    stage leaves (:meth:`counts`) and how it ranks them (:meth:`score`), chooses them (:meth:`select`), or
    merges them (:meth:`choose`). This class turns the budget into a checked schedule. A stage reads what
    :meth:`reads_at` declares, and nothing else is computed: by default the attention of the last prompt token
    in the layer before it. The hooks that drop the tokens are in ``models/layer_hooks.py``.

    Attributes:
        budget: visual tokens per crop, or a share of them in (0, 1).
        budget_as: ``average``: the budget is the mean over all layers ("equal tokens" in the papers'
            tables), so fewer tokens remain after the last stage; ``after``: the budget is the number of
            tokens that remain after the last stage.
        stages_key: the subclass's setting that places the stages, for error messages.
        meanings: what ``budget_as`` may be.
        fewest: the fewest tokens of a crop that a stage may leave: 1, or 0.
    """

    budget: int | float
    budget_as: str = "average"
    stages_key: ClassVar[str]
    fewest: ClassVar[int] = 1
    needs_grid: ClassVar[bool] = False
    """Whether it reads :attr:`TokensKnown.grid`, which is lost once another method has pruned."""
    needs_origin: ClassVar[bool] = False
    """Whether it reads :attr:`LayerState.origin`: the crop or frame, the place and the part of each token."""
    needs_frames: ClassVar[bool] = False
    """Whether it compares the frames of a video."""
    weighs: ClassVar[bool] = False
    """Whether log(size) of what its one stage leaves is added to the attention to it in all later layers."""
    meanings: ClassVar[tuple[str, ...]] = ("average", "after")

    def __post_init__(self) -> None:
        self.budget = check_budget(self.budget)
        check_choice("budget_as", self.budget_as, self.meanings)

    @abstractmethod
    def stage_layers(self, layers: int) -> Sequence[int]:
        """Return the 0-based first layer of each stage, ascending, in an LLM with ``layers`` layers."""

    @abstractmethod
    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        """Return the visual tokens of one crop that each stage leaves, in order.

        Args:
            tokens: visual tokens before the first stage.
            budget: the budget in tokens, at most ``tokens``; as an average, enough for every stage to leave
                at least one token after rounding.
            spans: number of layers before the first stage, and from each stage to the next or the end.
        """

    @property
    def first(self) -> Pruner | None:
        """The method that prunes before the LLM, if this one is composed of two."""
        return None

    @property
    def then(self) -> LayerPruner:
        """The method that prunes inside the LLM what :attr:`first` lets in; this one if it is alone."""
        return self

    @property
    def reads(self) -> Reads:
        """All that has to be computed before the LLM; as in :class:`~.pruner.Pruner`."""
        return NOTHING

    @property
    def needs_query(self) -> bool:
        """As in :class:`~.pruner.Pruner`."""
        return self.reads.joint

    @property
    def query_text(self) -> str:
        """As in :class:`~.pruner.Pruner`."""
        return "bare"

    @property
    def draws(self) -> bool:
        """As in :class:`~.pruner.Pruner`."""
        return False

    @property
    def renumbers(self) -> bool:
        """Whether the tokens left by a stage take consecutive positions; otherwise they keep their own."""
        return False

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        """Return what has to be computed for a stage, numbered from 0; the same in every prompt."""
        return frozenset([LAST_ROW])

    def prepare(self, state: LayerState) -> Tensor | None:
        """Return what all stages share for one prompt; called with what the first stage reads.

        Also if that stage keeps all of the prompt's tokens and a later one does not.
        """
        return None

    def select(self, state: LayerState, count: int) -> Tensor:
        """Return which ``count`` of the m tokens that are left stay: indices below m, distinct, in any order.

        0 <= count < m. By default, those with the highest :meth:`score` of the only rows that are read.
        """
        (rows,) = (value for signal, value in state.signals.items() if isinstance(signal, Rows))
        return self.best(self.score(rows), count)

    def choose(self, state: LayerState, count: int) -> StageChoice:
        """Return what stays, as for :meth:`select`; a method that merges overrides this."""
        return StageChoice(self.select(state, count))

    def operations(self, stage: int, sizes: StageSizes) -> int:
        """Count the matrix products of :meth:`choose`."""
        return 0

    def preparing_operations(self, sizes: StageSizes) -> int:
        """Count the matrix products of :meth:`prepare`."""
        return 0

    def score(self, attention: Tensor) -> Tensor:
        """Return scores (m,), higher is kept, from the rows that are read; by default their mean over heads.

        Args:
            attention: (heads, m) of the last prompt token in the layer before the stage, unless
                :meth:`reads_at` declares other rows.
        """
        return attention.mean(dim=0)

    def best(self, scores: Tensor, count: int) -> Tensor:
        """Return the indices of the highest scores (m,), best first; ties go to the lowest index.

        Raises:
            UserError: if a score is not finite.
        """
        check_finite(self, "attention scores", [scores])
        return top_indices(scores, count)

    def schedule(self, tokens: int, layers: int) -> dict[int, int]:
        """Return the visual tokens of one crop that remain from each stage's first layer on, by that layer.

        Args:
            tokens: visual tokens of one crop.
            layers: decoder layers of the LLM.

        Raises:
            SettingError: if the LLM has no such layer, the crop has fewer tokens than the budget, or the
                average cannot be as low as the budget.
        """
        stages = self.checked_stages(layers)
        spans = [end - begin for begin, end in pairwise([0, *stages, layers])]
        budget = tokens_kept(self.budget, tokens)
        if self.budget_as == "average":
            self._check_average(budget, tokens, layers, stages[0])
        counts = list(self.counts(tokens, budget, spans))
        falling = all(later <= earlier for earlier, later in pairwise([tokens, *counts]))
        if counts[-1] < self.fewest or not falling:
            expected = f"counts from {tokens} down to {self.fewest}, not {counts}"
            raise SettingError(self.stages_key, stages, expected)
        return dict(zip(stages, counts, strict=True))

    def lengths(self, tokens: int, layers: int) -> list[int]:
        """Return the visual tokens that each of the LLM's ``layers`` layers sees of a crop of ``tokens``."""
        return by_layer(self.schedule(tokens, layers), tokens, layers)

    def row_schedule(self, visual: int, crops: int, layers: int, tokens: int | None = None) -> dict[int, int]:
        """Return :meth:`schedule` for all visual tokens of one prompt: the counts of a crop times the crops.

        A prompt's visual tokens need not divide evenly into its crops, because of separators between rows and
        parts that the model cuts off. The counts then follow from the integer part of ``tokens`` / ``crops``,
        and a stage that keeps all of a crop keeps all of the prompt.

        Args:
            visual: visual tokens of the prompt, including separators if they are pruned too.
            crops: the number that the budget is multiplied by; 0 to keep all, for example without an image.
            layers: decoder layers of the LLM.
            tokens: the token count that determines the schedule, for example without separators; None for
                ``visual``.

        Raises:
            SettingError: as :meth:`schedule`.
        """
        if not crops:
            return dict.fromkeys(self.checked_stages(layers), visual)
        crop = (visual if tokens is None else tokens) // crops
        return {
            layer: visual if count == crop else min(crops * count, visual)
            for layer, count in self.schedule(crop, layers).items()
        }

    def row_lengths(self, visual: int, crops: int, layers: int, tokens: int | None = None) -> list[int]:
        """Return the visual tokens of a prompt that each layer sees; arguments of :meth:`row_schedule`."""
        return by_layer(self.row_schedule(visual, crops, layers, tokens), visual, layers)

    def checked_stages(self, layers: int) -> list[int]:
        """Return :meth:`stage_layers` of an LLM with ``layers`` layers.

        Raises:
            SettingError: if the LLM has no such layer, or the stages do not ascend.
        """
        stages = list(self.stage_layers(layers))
        for layer in stages:
            if not 1 <= layer < layers:
                raise SettingError(
                    self.stages_key, layer, f"a decoder layer from 1 to {layers - 1}; the LLM has {layers}"
                )
        if any(later <= earlier for earlier, later in pairwise(stages)):
            raise SettingError(self.stages_key, stages, f"ascending layers; the LLM has {layers}")
        return stages

    def _check_average(self, budget: int, tokens: int, layers: int, first: int) -> None:
        """Check that the budget leaves more than half a token per layer from the first stage on."""
        lowest = (2 * first * tokens + layers - first) // (2 * layers) + 1
        if budget >= lowest:
            return
        see = "the first sees" if first == 1 else f"the first {first} see"
        lower = ["an earlier first stage"] * (first > 1) + ["pruner.budget_as=after"] * (
            "after" in self.meanings
        )
        share = isinstance(self.budget, float)
        least, every = (math.ceil(1e4 * lowest / tokens) / 1e4, "") if share else (lowest, f"{tokens} ")
        raise SettingError(
            "budget",
            self.budget,
            f"at least {least} as an average over {layers} layers, since {see} all {every}tokens"
            + (f"; or {' or '.join(lower)}" if lower else ""),
        )


def by_layer(schedule: dict[int, int], tokens: int, layers: int) -> list[int]:
    """Return the tokens that each layer sees of ``tokens``, with what remains from some layers on."""
    lengths = []
    for layer in range(layers):
        tokens = schedule.get(layer, tokens)
        lengths.append(tokens)
    return lengths

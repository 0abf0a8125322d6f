"""What every method gives that prunes inside the LLM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from script_exp.errors import SettingError, check_choice
from script_exp.pruners.contract.budget import check_budget, tokens_kept


@dataclass(kw_only=True)
class LayerPruner(ABC):
    """A method that drops visual tokens between decoder layers, at one stage or several, at prefill.

    A subclass says before which layers (:meth:`stage_layers`), how many each stage leaves (:meth:`counts`)
    and how it ranks (:meth:`score`); this class turns the budget into a checked schedule. A stage ranks the
    tokens that are still there by the attention of the last prompt token in the layer before it. The hooks
    that drop the tokens are in ``models/layer_hooks.py``.

    Attributes:
        budget: visual tokens per crop, or a share of them in (0, 1).
        budget_as: ``average``: the budget is the mean over all layers ("equal tokens" in the papers'
            tables), so that fewer remain after the last stage; ``after``: the budget is what remains after
            the last stage.
        stages_key: the subclass's setting that places the stages, for error messages.
    """

    budget: int | float
    budget_as: str = "average"
    needs_query: ClassVar[bool] = False
    stages_key: ClassVar[str]

    def __post_init__(self) -> None:
        self.budget = check_budget(self.budget)
        check_choice("budget_as", self.budget_as, ("average", "after"))

    @abstractmethod
    def stage_layers(self, layers: int) -> Sequence[int]:
        """0-based indices of the first layer of each stage, ascending, in an LLM with ``layers`` layers."""

    @abstractmethod
    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        """Visual tokens of one crop that each stage leaves, in order.

        Args:
            tokens: before the first stage.
            budget: the budget in tokens, at most ``tokens``; as an average no lower than stages that leave
                one token come to.
            spans: how many layers run before the first stage and from each stage to the next or the end.
        """

    @abstractmethod
    def score(self, attention: Tensor) -> Tensor:
        """Scores (tokens,), higher is kept, from the last prompt token's attention (heads, tokens)."""

    def schedule(self, tokens: int, layers: int) -> dict[int, int]:
        """Visual tokens of one crop that remain from a decoder layer on, by the stages' layers, ascending.

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
        if counts[-1] < 1 or any(later > earlier for earlier, later in pairwise([tokens, *counts])):
            raise SettingError(self.stages_key, stages, f"counts from {tokens} down to 1, not {counts}")
        return dict(zip(stages, counts, strict=True))

    def lengths(self, tokens: int, layers: int) -> list[int]:
        """Visual tokens of one crop of ``tokens`` that each of the LLM's ``layers`` layers sees."""
        return _by_layer(self.schedule(tokens, layers), tokens, layers)

    def row_schedule(self, visual: int, crops: int, layers: int, tokens: int | None = None) -> dict[int, int]:
        """:meth:`schedule` for all visual tokens of one prompt: the counts of a crop times the crops.

        A prompt's visual tokens need not divide into its crops (separators between rows, parts that the
        model cuts off). The counts then follow from the whole part of ``tokens`` / ``crops``, and a stage
        that keeps all of a crop keeps all of the prompt.

        Args:
            visual: visual tokens of the prompt, separators included where they are pruned too.
            crops: what the budget is multiplied by; 0 to keep all, as where there is no image.
            layers: decoder layers of the LLM.
            tokens: how many of them the counts follow from, for example those that are no separators; None
                for all.

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
        """Visual tokens of one prompt that each layer sees; the arguments are :meth:`row_schedule`'s."""
        return _by_layer(self.row_schedule(visual, crops, layers, tokens), visual, layers)

    def checked_stages(self, layers: int) -> list[int]:
        """:meth:`stage_layers` of an LLM with ``layers`` layers.

        Raises:
            SettingError: if the LLM has no such layer.
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
        """All stages down to one token must come within half a token per layer of what is left to spend."""
        lowest = (2 * first * tokens + layers - first) // (2 * layers) + 1
        if budget < lowest:
            raise SettingError(
                "budget",
                self.budget,
                f"at least {lowest} as an average over {layers} layers, since the first {first} see all "
                f"{tokens} tokens; or pruner.budget_as=after",
            )


def _by_layer(schedule: dict[int, int], tokens: int, layers: int) -> list[int]:
    lengths = []
    for layer in range(layers):
        tokens = schedule.get(layer, tokens)
        lengths.append(tokens)
    return lengths

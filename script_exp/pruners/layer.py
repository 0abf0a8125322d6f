"""What every method gives that prunes inside the LLM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.budget import check_budget, tokens_kept
from script_exp.errors import SettingError, check_choice, check_whole


@dataclass(kw_only=True)
class LayerPruner(ABC):
    """A method that drops visual tokens before decoder layer ``layer``, once, at prefill.

    Layers 0 to layer - 1 see every token; the ranking comes from the attention of the last prompt token in
    layer ``layer`` - 1. The hooks that drop the tokens are in ``models/layer_hooks.py``.

    Attributes:
        budget: visual tokens per crop, or a share of them in (0, 1).
        layer: 0-based index of the first decoder layer that sees fewer tokens.
        budget_as: ``average``: the budget is the mean over all layers ("equal tokens" in the papers'
            tables), so that fewer remain after the layer; ``after``: the budget is what remains after the
            layer.
    """

    budget: int | float
    layer: int
    budget_as: str = "average"
    needs_query: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.budget = check_budget(self.budget)
        check_choice("budget_as", self.budget_as, ("average", "after"))
        check_whole("layer", self.layer, lowest=1)

    @abstractmethod
    def score(self, attention: Tensor) -> Tensor:
        """Scores (tokens,), higher is kept, from the last prompt token's attention (heads, tokens)."""

    def kept_after(self, tokens: int, layers: int) -> int:
        """Visual tokens that remain from ``layer`` on, of ``tokens``, in an LLM with ``layers`` layers.

        Raises:
            SettingError: if the LLM has no such layer, or the average cannot be as low as the budget.
        """
        if self.layer >= layers:
            raise SettingError(
                "layer", self.layer, f"a decoder layer from 1 to {layers - 1}; the LLM has {layers}"
            )
        budget = tokens_kept(self.budget, tokens)
        if self.budget_as == "after":
            return budget
        after = round((budget * layers - self.layer * tokens) / (layers - self.layer))
        if after < 1:
            lowest = -(-(self.layer * tokens + layers - self.layer) // layers)
            raise SettingError(
                "budget",
                self.budget,
                f"at least {lowest} as an average over {layers} layers, since the first {self.layer} see all "
                f"{tokens} tokens; or pruner.budget_as=after",
            )
        return after

    def lengths(self, tokens: int, layers: int) -> list[int]:
        """Visual tokens that each layer sees."""
        return [tokens] * self.layer + [self.kept_after(tokens, layers)] * (layers - self.layer)

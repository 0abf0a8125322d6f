"""Composed: any method before the LLM, followed by any method inside it, under one budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from script_exp.errors import SettingError, check_number
from script_exp.pruners.contract.budget import tokens_kept
from script_exp.pruners.contract.layer_pruner import LayerPruner, by_layer
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.signals import Reads


@dataclass(kw_only=True)
class Composed(LayerPruner):
    """Of a budget B, ``before`` lets ``expansion`` * B tokens of a crop enter the LLM; ``inside`` drops more.

    The budget is the mean over all layers, or what the last stage leaves. VScan's expansion is 1.5, that of
    FlashVID 1.25. The budgets of both parts follow from it: those that they were made with are replaced.

    Attributes:
        before: the method before the LLM, with its settings.
        inside: the method inside the LLM, with its settings; ``budget_as`` is that of the whole.
        expansion: tokens that enter the LLM, in budgets, above 1.
    """

    before: Pruner
    inside: LayerPruner
    expansion: float = 1.5
    stages_key: ClassVar[str] = "inside"

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = (("before", Pruner, "before the LLM"), ("inside", LayerPruner, "inside the LLM"))
        for key, kind, where in wanted:
            part = getattr(self, key)
            if not isinstance(part, kind) or isinstance(part, Composed):
                raise SettingError(key, type(part).__name__, f"a method that prunes {where}")
        if self.inside.needs_grid:
            expected = "a method that needs no grid: what enters the LLM has none any more"
            raise SettingError("inside", type(self.inside).__name__, expected)
        if self.inside.reads.signals:
            expected = "a method that reads nothing of the vision tower, where all tokens still were"
            raise SettingError("inside", type(self.inside).__name__, expected)
        check_number(
            "expansion",
            self.expansion,
            lambda share: share > 1,
            "a number > 1: tokens that enter, in budgets",
        )
        share = isinstance(self.budget, float)
        entering = self.budget * self.expansion
        if share and entering >= 1:
            raise SettingError("expansion", self.expansion, f"less than 1 / budget = {1 / self.budget:g}")
        if self.before.adaptive:
            expected = "a method that keeps its whole budget: what is inside divides what enters"
            raise SettingError("before", type(self.before).__name__, expected)
        self.before = replace(self.before, budget=entering if share else round(entering))
        tokens = 10**6 if share else 2 * round(entering)
        if self.before.kept_of(tokens) > tokens_kept(self.before.budget, tokens):
            expected = "a method that prunes; to prune inside the LLM alone, choose a method that does"
            raise SettingError("before", type(self.before).__name__, expected)
        left = 1 / self.expansion if share else self.budget
        try:
            self.inside = replace(self.inside, budget=left, budget_as=self.budget_as)
        except SettingError as error:
            if error.key == "budget_as":  # that of the whole
                raise
            raise error.within("inside") from error

    @property
    def first(self) -> Pruner:
        return self.before

    @property
    def then(self) -> LayerPruner:
        return self.inside

    @property
    def reads(self) -> Reads:
        return self.before.reads

    @property
    def needs_query(self) -> bool:
        return self.before.needs_query

    @property
    def query_text(self) -> str:
        return self.before.query_text

    @property
    def draws(self) -> bool:
        return self.before.draws

    @property
    def renumbers(self) -> bool:
        return self.inside.renumbers

    def stage_layers(self, layers: int) -> Sequence[int]:
        return self.inside.stage_layers(layers)

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        return self.inside.counts(tokens, budget, spans)

    def schedule(self, tokens: int, layers: int) -> dict[int, int]:
        """Return the counts of ``inside`` after ``before``, for a crop of ``tokens`` tokens.

        Raises:
            SettingError: also if the crop has fewer tokens than have to enter.
        """
        entering = self.entering(tokens)
        try:
            return self.inside.schedule(entering, layers)
        except SettingError as error:
            if error.key == "budget":  # its own budget may be a share of what enters
                raise SettingError("budget", self.budget, error.expected) from error
            raise error.within("inside") from error

    def checked_stages(self, layers: int) -> list[int]:
        try:
            return self.inside.checked_stages(layers)
        except SettingError as error:
            raise error.within("inside") from error

    def lengths(self, tokens: int, layers: int) -> list[int]:
        return by_layer(self.schedule(tokens, layers), self.entering(tokens), layers)

    def entering(self, tokens: int) -> int:
        """Return the tokens of a crop that enter the LLM.

        Raises:
            SettingError: if a crop has fewer, or ``before`` lets fewer enter than the whole has to keep.
        """
        if isinstance(self.before.budget, int) and self.before.budget > tokens:
            expected = f"at most {int(tokens / self.expansion)}, since {self.expansion:g} times as many enter"
            raise SettingError("budget", self.budget, f"{expected} of {tokens} tokens of a crop")
        entering, method = self.before.kept_of(tokens), type(self.before).__name__
        wanted = tokens_kept(self.before.budget, tokens)
        if isinstance(self.budget, float) and entering < wanted:
            expected = f"a method that keeps any share: of {tokens} tokens it keeps {entering}, not {wanted}"
            raise SettingError("before", method, f"{expected}; or a whole number as budget")
        if entering < self.budget:
            expected = f"more: of {tokens} tokens {method} lets {entering} enter, less than the budget"
            raise SettingError("expansion", self.expansion, expected)
        return entering

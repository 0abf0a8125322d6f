"""The interface of every pruner, and the code that all pruners share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import SettingError, UserError
from script_exp.pruners.contract.budget import check_budget, tokens_kept
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.signals import Reads, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Pruner(ABC):
    """A method that drops visual tokens before the LLM.

    A subclass implements :meth:`select`; one that ranks tokens subclasses :class:`ScorePruner` and implements
    only the score. Scores are computed in float32; kept tokens have the model's dtype.

    Attributes:
        budget: visual tokens kept per crop, or a share of them in (0, 1). A method that divides them among
            the crops itself keeps as many in total.
    """

    budget: int | float
    needs_query: ClassVar[bool] = False
    """Whether the method compares the patches with the question in the query encoder's space."""
    needs_words: ClassVar[bool] = False
    """Whether the method compares the tokens with the question's words in the LLM's input space."""
    query_text: ClassVar[str] = "bare"
    """What the query encoder sees if the run does not say: the ``bare`` question, or as ``released`` code."""
    draws: ClassVar[bool] = False
    """Whether the method draws at random, seeded by :attr:`VisualTokens.key`."""
    needs_frames: ClassVar[bool] = False  # whether it compares the frames of a video, which are its crops

    def __post_init__(self) -> None:
        self.budget = check_budget(self.budget)

    @property
    def aggregates(self) -> bool:
        """Whether the method spends budget on tokens without a place of their own, which come last."""
        return False

    def leading(self, k: int) -> int:
        """Return how many aggregated tokens, the first ones of :meth:`output`, enter the LLM first."""
        return 0

    @property
    def adaptive(self) -> bool:
        """Whether the budget is only the most that may be kept, and the image decides how many are."""
        return False

    @property
    def signals(self) -> frozenset[Signal]:
        """What the method reads of the vision tower besides the features that enter the projector."""
        return frozenset()

    @property
    def reads(self) -> Reads:
        """All that has to be computed for the method."""
        return Reads(self.needs_query, self.needs_words, self.signals)

    def kept_of(self, tokens: int) -> int:
        """Return how many tokens are kept of a crop with ``tokens`` visual tokens."""
        return tokens_kept(self.budget, tokens)

    def total_of(self, crops: int, tokens: int) -> int:
        """Return how many tokens are kept of an image with ``crops`` crops of ``tokens`` visual tokens."""
        return crops * self.kept_of(tokens)

    @abstractmethod
    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        """Return the tokens to keep, distinct, in any order; fewer if ``aggregates`` or ``adaptive``.

        They are indices (crops, k), or, if crops may keep different numbers, places (total,), which count
        through all crops: crop * n + index. 1 <= k < n; k <= n if ``adaptive``. The tensors are in float32.
        """

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        """Return the tokens that enter the LLM, those at ``indices`` first and in their order.

        They are (crops, k, d) for indices by crop, and (crops * k, d) for places (:meth:`select`). A merging
        method overrides this. The features have the model's dtype, and so has what it returns.
        """
        if indices.ndim == 1:
            return visual.projected.flatten(0, 1)[indices]
        return gather_tokens(visual.projected, indices)

    def keep(self, visual: VisualTokens, query: Query | None, k: int) -> tuple[Tensor, Tensor]:
        """Return the result of :meth:`select`, ascending, and that of :meth:`output` for it.

        A method whose selection already makes the tokens overrides this, so that nothing is computed twice.
        """
        chosen = self.select(visual.map(Tensor.float), query, k).sort(dim=-1).values
        self._check_chosen(visual, chosen, k)
        return chosen, self.output(visual, chosen)

    def parts(self, visual: VisualTokens, places: Tensor) -> Tensor:
        """Return (m,) the number of the part that each of the kept ``places`` (m,) is from, below 2 crops.

        A method inside the LLM may divide what is left among them. By default a part is a crop.
        """
        return places // visual.projected.shape[1]

    def __call__(self, visual: VisualTokens, query: Query | None = None) -> Kept:
        """Prune one image.

        Raises:
            ValueError: if the tensors do not fit the contract, or a required query is missing.
            SettingError: if the budget is larger than the crop.
            UserError: if tokens have to be chosen and the values they are chosen by are not finite.
        """
        self._check(visual, query)
        crops, n, d = visual.projected.shape
        k, total = self.kept_of(n), self.total_of(crops, n)
        if total == crops * n and not self.adaptive:
            every = torch.arange(n, device=visual.projected.device).expand(crops, n)
            return Kept.of_each_crop(every, visual.projected, n)
        self._check_finite(visual, query)
        chosen, tokens = self.keep(visual, _query_in_float32(query), k)
        by_crop = chosen.ndim == 2
        most = k if by_crop else total
        count = tokens.shape[chosen.ndim - 1] if tokens.ndim > chosen.ndim else 0
        exact = chosen.shape[-1] <= count <= most if self.adaptive else count == most
        if not exact or tokens.shape != (*chosen.shape[:-1], count, d):
            raise ValueError(
                f"{type(self).__name__} returned tokens of shape {tuple(tokens.shape)} for k={k}"
            )
        if by_crop:
            return Kept.of_each_crop(chosen, tokens, n, self.leading(k))
        return Kept(chosen, tokens[: len(chosen)], tokens[len(chosen) :], crops, n)

    def _check(self, visual: VisualTokens, query: Query | None) -> None:
        if visual.projected.ndim != 3:
            raise ValueError(f"projected tokens must be (crops, n, d), got {tuple(visual.projected.shape)}")
        missing = self.signals - visual.signals.keys()
        if missing:
            raise ValueError(f"{type(self).__name__} needs {min(missing)}, which the model was not asked for")
        for signal, values in visual.signals.items():
            if len(values) != len(visual.projected):
                raise ValueError(f"{signal} has {len(values)} crops, not {len(visual.projected)}")
        if self.needs_words and (query is None or query.words is None):
            raise ValueError(f"{type(self).__name__} needs the question's words in the LLM's space")
        if not self.needs_query:
            return
        if query is None or visual.joint is None:
            raise ValueError(f"{type(self).__name__} needs the question and the patches in the same space")
        if visual.joint.shape[:2] != visual.projected.shape[:2]:
            raise ValueError(
                f"joint embeddings {tuple(visual.joint.shape)} do not match the projected tokens "
                f"{tuple(visual.projected.shape)}"
            )

    def _check_chosen(self, visual: VisualTokens, chosen: Tensor, k: int) -> None:
        crops, n, _ = visual.projected.shape
        by_crop = chosen.ndim == 2
        most = k if by_crop else self.total_of(crops, n)
        if chosen.shape[:-1] != (crops,) * by_crop or not 1 <= chosen.shape[-1] <= most:
            shape = tuple(chosen.shape)
            raise ValueError(f"{type(self).__name__} selected {shape} for {crops} crops and k={k}")

    def _check_finite(self, visual: VisualTokens, query: Query | None) -> None:
        asked = [] if query is None else [query.embeddings, query.words]
        values = [*visual.tensors().values(), *(one for one in asked if one is not None and one.numel())]
        check_finite(self, "visual tokens or embeddings", values)


@dataclass(kw_only=True)
class ScorePruner(Pruner):
    """A pruner that keeps the tokens with the highest scores; ties go to the lowest index.

    A subclass that also overrides :meth:`select` ranks with :meth:`best`, which rejects non-finite scores.
    """

    @abstractmethod
    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        """Return scores (crops, n); higher is kept."""

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return self.best(visual, query, k)

    def best(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        """Return the indices (crops, k) of the highest scores, best first."""
        scores = self.score(visual, query)
        if scores.shape != visual.projected.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} scored {tuple(scores.shape)}, not {tuple(visual.projected.shape[:2])}"
            )
        check_finite(self, "scores", [scores])
        return top_indices(scores, k)

    def _check_finite(self, visual: VisualTokens, query: Query | None) -> None:
        """Do nothing: :meth:`best` checks the scores, so that a GPU is synchronized only once."""


def grid_of(visual: VisualTokens, method: object) -> tuple[int, int]:
    """Return (rows, columns) of a crop's tokens.

    Raises:
        SettingError: if they form no grid.
    """
    if visual.grid is None:
        raise SettingError(
            "pruner", type(method).__name__, "a method that needs no grid: this image's tokens form none"
        )
    return visual.grid


def check_finite(method: object, what: str, values: Iterable[Tensor]) -> None:
    """Raise a :class:`UserError` unless all values are finite; synchronizes with the device once.

    NaN sorts above all numbers, so a damaged token would be kept first, and in a graph it damages others.
    """
    ends = [end.float() for value in values for end in value.aminmax()]  # NaN propagates
    if ends and not torch.stack(ends).isfinite().all():
        raise UserError(
            f"{type(method).__name__}: the {what} are not finite, so no tokens can be chosen: expected "
            "dtype=bfloat16 or dtype=float32 if float16 overflows, or a score that is always finite"
        )


def top_indices(scores: Tensor, k: int) -> Tensor:
    """Return indices (..., k) of the k highest scores, best first; ties go to the lowest index everywhere."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Return the rows ``indices`` (crops, k) of ``tokens`` (crops, n, d): (crops, k, d)."""
    crops = torch.arange(len(tokens), device=tokens.device)
    return tokens[crops[:, None], indices]  # on a CPU faster than a gather of each number


def _query_in_float32(query: Query | None) -> Query | None:
    """Return the question in float32, whatever the model's dtype: half precision reorders near-ties."""
    if query is None:
        return None
    words = None if query.words is None else query.words.float()
    return replace(query, embeddings=query.embeddings.float(), words=words)

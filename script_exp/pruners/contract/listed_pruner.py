"""The interface of methods inside the LLM whose paper or code has lists of what each stage leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from script_exp.errors import SettingError, check_choice
from script_exp.pruners.contract.layer_pruner import LayerPruner

_STAGES = "layers (whole numbers >= 1) or shares of the depth in (0, 1)"


@dataclass(kw_only=True)
class ListedPruner(LayerPruner):
    """A method with published lists of the tokens that its stages leave.

    For a budget between two lists, the counts are as far between theirs. Above the first and below the last
    one they lead to all tokens and to none. ``budget_as=average`` solves this for the mean over the layers'
    inputs, as near as rounded counts come, ``after`` for what the last stage leaves.
    ``budget_as=published`` takes a list as it is: the budget is its name, and the mean over the layers, which
    every result records, is another number.

    Attributes:
        stages: the layers before which tokens are dropped, ascending: 0-based indices, or shares of the
            depth, rounded to a layer of their own.
        lists: by name the share of the tokens that each stage leaves, from the most to the fewest.
    """

    stages: Sequence[int | float]
    stages_key: ClassVar[str] = "stages"
    meanings: ClassVar[tuple[str, ...]] = ("average", "after", "published")
    lists: ClassVar[Mapping[int, Sequence[float]]]

    def __post_init__(self) -> None:
        super().__post_init__()
        number = len(next(iter(self.lists.values())))
        given = isinstance(self.stages, list | tuple)
        if not given or len(self.stages) != number or not all(map(_is_stage, self.stages)):
            raise SettingError("stages", self.stages, f"a list of {number} {_STAGES}")
        self.stages = tuple(self.stages)
        if self.budget_as == "published":
            check_choice("budget", self.budget, tuple(self.lists))

    def stage_layers(self, layers: int) -> Sequence[int]:
        return placed(self.stages, layers)

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        return listed_counts(self, self.lists, tokens, budget, spans)


def listed_counts(
    method: LayerPruner,
    lists: Mapping[int, Sequence[float]],
    tokens: int,
    budget: int,
    spans: Sequence[int],
) -> list[int]:
    """Return :meth:`LayerPruner.counts` by lists of shares, as in :class:`ListedPruner`."""
    if method.budget_as == "published":
        shares = lists[budget]
    else:
        average = method.budget_as == "average"
        weights = spans[1:] if average else [0] * (len(spans) - 2) + [1]
        wanted = budget * sum(spans) / tokens - spans[0] if average else budget / tokens
        shares = between(list(lists.values()), weights, wanted)
    return [max(method.fewest, round(share * tokens)) for share in shares]


def placed(stages: Sequence[int | float], layers: int) -> list[int]:
    """Return the layers of ``stages``; shares of the depth that would meet move behind each other."""
    found: list[int] = []
    for stage in stages:
        lowest = found[-1] + 1 if found else 1
        found.append(max(round(stage * layers), lowest) if isinstance(stage, float) else stage)
    return found


def between(lists: Sequence[Sequence[float]], weights: Sequence[float], wanted: float) -> Sequence[float]:
    """Return the list between two of ``lists``, or one of them and all ones or zeros, of a weighted sum."""

    def total(shares: Sequence[float]) -> float:
        return sum(weight * share for weight, share in zip(weights, shares, strict=True))

    stages = len(weights)
    path = [[1.0] * stages, *lists, [0.0] * stages]
    upper, lower = next(
        (upper, lower) for upper, lower in pairwise(path) if total(lower) <= wanted or lower is path[-1]
    )
    way = (wanted - total(lower)) / (total(upper) - total(lower)) if total(upper) > total(lower) else 1.0
    return [low + way * (high - low) for high, low in zip(upper, lower, strict=True)]


def _is_stage(stage: object) -> bool:
    if isinstance(stage, bool) or not isinstance(stage, int | float):
        return False
    return stage >= 1 if isinstance(stage, int) else 0 < stage < 1

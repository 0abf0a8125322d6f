"""Compute a benchmark's official number from scored answers, and for any choice of the answered units.

Every metric here is a function of sums over samples. So the sums are computed once per unit (the questions on
one image), and an interval, which asks for the number without a unit, only adds them up again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np


class Scored(Protocol):
    """An answer with its score, for example a line of ``samples.jsonl``."""

    @property
    def kind(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def references(self) -> Sequence[str]: ...
    @property
    def score(self) -> float: ...


class Metric(ABC):
    """An official number.

    Attributes:
        name: the name in ``result.json``.
        scale: 100 if the number is a share that is printed in percent, 1 if it counts points.
        unit: the unit of the printed number in headings and on axes.
    """

    name: ClassVar[str]
    scale: ClassVar[int] = 100
    unit: ClassVar[str] = "%"

    @abstractmethod
    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return the sums (sums,) of the answers of one unit."""

    @abstractmethod
    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the number (...) from sums (..., sums) over units."""

    def highest(self, totals: np.ndarray) -> float:
        """Return the largest number that these questions allow, from their sums; the smallest is 0."""
        return 1.0

    def by_unit(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (units, sums), with the units ordered by name."""
        grouped: dict[str, list[Scored]] = defaultdict(list)
        for answer in answers:
            grouped[answer.unit].append(answer)
        return np.stack([self.totals(grouped[unit]) for unit in sorted(grouped)]).astype(np.float64)

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        """Return the number of each kind, ordered by name."""
        grouped: dict[str, list[Scored]] = defaultdict(list)
        for answer in answers:
            grouped[answer.kind].append(answer)
        return {kind: self.of(grouped[kind]) for kind in sorted(grouped)}

    def of(self, answers: Sequence[Scored]) -> float:
        """Return the number of these answers."""
        return float(self.value(self.by_unit(answers).sum(axis=0)))


class MeanScore(Metric):
    """The mean score over all samples."""

    name = "mean"

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        return np.array([sum(answer.score for answer in answers), len(answers)])

    def value(self, totals: np.ndarray) -> np.ndarray:
        mean: np.ndarray = totals[..., 0] / totals[..., 1]
        return mean


class MeanByPart(MeanScore):
    """The mean score; by kind, the mean of every part of kinds such as ``short/Counting Problem``."""

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        grouped: dict[str, list[Scored]] = defaultdict(list)
        for answer in answers:
            for part in answer.kind.split("/"):
                grouped[part].append(answer)
        return {part: self.of(grouped[part]) for part in sorted(grouped)}


class MeanOverKinds(Metric):
    """The mean over kinds of their mean scores, however many samples each has.

    Attributes:
        kinds: all kinds; one that was not asked does not count.
    """

    kinds: ClassVar[tuple[str, ...]]

    def totals(self, answers: Sequence[Scored]) -> np.ndarray:
        """Return (kinds * 2,): sum of the scores and number of samples of every kind."""
        sums = np.zeros((len(self.kinds), 2))
        for answer in answers:
            sums[self.kinds.index(answer.kind)] += answer.score, 1
        return sums.ravel()

    def value(self, totals: np.ndarray) -> np.ndarray:
        sums = totals.reshape(*totals.shape[:-1], len(self.kinds), 2)
        asked = sums[..., 1] > 0
        means = sums[..., 0] / np.maximum(sums[..., 1], 1)
        mean: np.ndarray = means.sum(axis=-1) / asked.sum(axis=-1)
        return mean

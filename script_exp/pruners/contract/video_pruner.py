"""The interface of methods that compare the frames of a video before the LLM."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.pruners.contract.budget import tokens_kept
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class VideoPruner(Pruner):
    """A method that sees all frames of a video in order and divides one total among them.

    ``visual.projected`` is (T, n, d): T frames, or steps of as many frames as the tower merges
    (:attr:`VisualTokens.frames`), of n tokens in raster order, as they are after the family's pooling. A
    subclass implements :meth:`choose`.

    Attributes:
        budget: k tokens per frame, so that T k remain of the video; or a share of all its T n tokens.
    """

    needs_frames: ClassVar[bool] = True

    def total_of(self, crops: int, tokens: int) -> int:
        if isinstance(self.budget, float):
            return tokens_kept(self.budget, crops * tokens)
        return super().total_of(crops, tokens)

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return self.choose(visual, self.total_of(*visual.projected.shape[:2]))

    @abstractmethod
    def choose(self, video: VisualTokens, total: int) -> Tensor:
        """Return the places (total,) to keep, frame * n + raster index, distinct, in any order.

        1 <= total < T n. The tensors are in float32.
        """

    def _check(self, visual: VisualTokens, query: Query | None) -> None:
        super()._check(visual, query)
        if visual.frames is None:
            raise ValueError(f"{type(self).__name__} needs the frames of a video, and got an image")


@dataclass(kw_only=True)
class MergingVideoPruner(VideoPruner):
    """A method that merges tokens over time; a subclass implements :meth:`merged`.

    A merged token enters the LLM at the place of one of those that it is made of.
    """

    @abstractmethod
    def merged(self, video: VisualTokens, total: int) -> tuple[Tensor, Tensor]:
        """Return the places (total,), distinct, in any order, and the tokens (total, d) that stand there.

        1 <= total < T n. The tensors are in float32.
        """

    def choose(self, video: VisualTokens, total: int) -> Tensor:
        return self.merged(video, total)[0]

    def keep(self, visual: VisualTokens, query: Query | None, k: int) -> tuple[Tensor, Tensor]:
        total = self.total_of(*visual.projected.shape[:2])
        places, tokens = self.merged(visual.map(Tensor.float), total)
        self._check_chosen(visual, places, k)
        order = places.argsort()
        return places[order], tokens[order].to(visual.projected.dtype)

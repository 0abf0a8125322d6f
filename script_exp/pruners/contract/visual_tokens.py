"""What a pruner sees: the visual tokens of one image, and the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from script_exp.errors import check_choice
from script_exp.pruners.contract.signals import Signal


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of one image, as they would enter the LLM.

    Attributes:
        projected: (crops, n, d) output of the projector.
        joint: (crops, n, e) patch embeddings in the query encoder's space, not normalized; None unless the
            pruner declares ``needs_query``.
        tower: (crops, n, v) features of the vision tower that enter the projector; None for models without
            one.
        project: maps tower features (..., v) to projected tokens (..., d); None where ``tower`` is None.
        key: name of the image-question pair; seeds the methods that draw at random.
        signals: what the method declares in :attr:`Pruner.signals`, and nothing else.
        grid: (rows, columns) of a crop's tokens, which are in raster order; None where they form no grid.
        tiles: (rows, columns) of the crops after the first, which are parts of the picture that the first one
            shows in full; None where crops are no such parts.
        smaller: (rows, columns) of the tokens of a picture that was made smaller, each of which stands at all
            places of ``projected`` that it covers; None for the picture as it is.
        padding: (top, bottom, left, right) rows and columns of the grid that lie wholly in what was added to
            make the picture a square; None where nothing was added, or it is not known.
        frames: frames of a video that each crop shows: 1, or as many as the tower merges; None for an image.
    """

    projected: Tensor
    joint: Tensor | None = None
    tower: Tensor | None = None
    project: Callable[[Tensor], Tensor] | None = None
    key: str = ""
    signals: Mapping[Signal, Tensor] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    tiles: tuple[int, int] | None = None
    smaller: tuple[int, int] | None = None
    padding: tuple[int, int, int, int] | None = None
    frames: int | None = None

    @property
    def features(self) -> Tensor:
        """(crops, n, v) what the tower knows of each token; the projected tokens for models without one."""
        return self.projected if self.tower is None else self.tower

    def enter(self, features: Tensor) -> Tensor:
        """Return (..., d) what enters the LLM for features (..., v) made of :attr:`features`."""
        features = features.to(self.features.dtype)
        if self.project is None:
            return features
        return self.project(features).to(features.device)  # a spread model's projector may be elsewhere

    def tensors(self) -> dict[str | Signal, Tensor]:
        """Return every tensor by the name of its attribute, or by its signal."""
        own = {"projected": self.projected, "joint": self.joint, "tower": self.tower}
        return {name: one for name, one in own.items() if one is not None} | dict(self.signals)

    def map(self, change: Callable[[Tensor], Tensor]) -> VisualTokens:
        """Return the same with every tensor changed, for example moved to another device."""
        changed = {name: change(one) for name, one in self.tensors().items()}
        signals = {name: one for name, one in changed.items() if isinstance(name, Signal)}
        own: dict[str, Any] = {name: one for name, one in changed.items() if isinstance(name, str)}
        return replace(self, signals=signals, **own)


@dataclass(frozen=True)
class Query:
    """The question, as the pruner reads it.

    Attributes:
        embeddings: (segments, e) in the query encoder's space, not normalized; the encoder decides how to
            segment a question. (0, 0) unless the pruner declares ``needs_query``.
        sign: +1 if relevant patches are the *similar* ones, -1 if they are the dissimilar ones. OpenAI's CLIP
            ViT-L/14-336 has -1 at layer -2: TRIM and CDPruner both found raw patch-text similarity to be
            anti-correlated with visual relevance there.
        words: (m, d) the LLM's input embeddings of the question's content words; None unless the pruner
            declares ``needs_words``.
    """

    embeddings: Tensor
    sign: int = 1
    words: Tensor | None = None

    def __post_init__(self) -> None:
        check_choice("relevance_sign", self.sign, (1, -1))

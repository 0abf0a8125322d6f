"""What a method that prunes inside the LLM reads at a stage, and how it gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from script_exp.errors import check_choice
from script_exp.pruners.contract.signals import Signal

STATES = ("keys", "own_keys", "entering", "leaving", "normed", "embeddings", "ones")


@dataclass(frozen=True, order=True)
class Rows:
    """Attention rows of some tokens in float32, at the m visual columns.

    The softmax runs over all that a row sees: the tokens before it, within the window of a sliding layer.

    Attributes:
        of: ``last``, the prompt's last token; ``text``, all tokens behind the last visual one, or the last
            token where nothing follows; ``visual``, all visual tokens that are left; or ``before_text``, the
            mean query of all tokens before the text, which sees these (``own`` without ``rotary`` alone).
        own: false for the layer before the stage, true for the stage's first layer itself: its norm, q and k
            on the states that enter it, before anything is dropped.
        rotary: false for q and k without positions.
        heads: ``each`` for (heads, rows, m); ``mean`` or ``max`` over the heads for (rows, m), which is all
            that is held in memory. ``last`` and ``before_text`` have no axis of rows and keep their heads:
            (heads, m).
    """

    of: str = "last"
    own: bool = False
    rotary: bool = True
    heads: str = "each"

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("last", "text", "visual", "before_text"))
        check_choice("heads", self.heads, ("each",) if self.single else ("each", "mean", "max"))
        if self.of == "before_text":
            check_choice("own", self.own, (True,))
            check_choice("rotary", self.rotary, (False,))

    @property
    def single(self) -> bool:
        """Whether it is one row."""
        return self.of in ("last", "before_text")

    @property
    def of_kernel(self) -> bool:
        """Whether the rows follow from what the layer's attention kernel gets; others are projected anew."""
        return self.rotary and not self.own

    @property
    def projected(self) -> bool:
        """Whether it needs projections beside those of the kernel."""
        return not self.of_kernel

    @property
    def rotated(self) -> bool:
        """Whether it needs the model's rotary embedding besides."""
        return self.rotary and self.own

    @property
    def layer(self) -> int | None:
        """Layer whose attention it reads: -1, the one before the stage; or 0, the stage's first layer."""
        return 0 if self.own else -1


@dataclass(frozen=True, order=True)
class States:
    """What the LLM has for each visual or text token, in float32.

    ==============  =========  ======================================================================
    kind            shape      value
    ==============  =========  ======================================================================
    ``keys``        (m, w)     keys of the layer before the stage with positions, heads side by side
    ``own_keys``    (m, w)     the same of the stage's first layer, of the states that enter it
    ``entering``    (m, d)     hidden states that enter the layer before the stage
    ``leaving``     (m, d)     hidden states that leave it
    ``normed``      (m, d)     ``leaving`` after the LLM's final norm
    ``embeddings``  (m, d)     what enters the LLM
    ``ones``        (m, w)     a vector of ones with positions, as a head of the layer before the stage
    ==============  =========  ======================================================================

    Attributes:
        kind: one of :data:`STATES`.
        of: ``visual`` or ``text``, as in :class:`Rows`.
    """

    kind: str
    of: str = "visual"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, STATES)
        check_choice("of", self.of, ("visual", "text"))

    @property
    def of_kernel(self) -> bool:
        """Whether the layer's attention kernel has them."""
        return self.kind == "keys"

    @property
    def projected(self) -> bool:
        """Whether it needs projections beside those of the kernel."""
        return self.kind == "own_keys"

    @property
    def rotated(self) -> bool:
        """Whether it needs the model's rotary embedding besides."""
        return self.kind in ("own_keys", "ones")

    @property
    def layer(self) -> int | None:
        """As in :class:`Rows`; None for states that every layer has."""
        return {"keys": -1, "own_keys": 0, "ones": -1}.get(self.kind)


LayerSignal: TypeAlias = Rows | States
LAST_ROW = Rows()
"""The row of the prompt's last token in the layer before the stage, as FastV reads it."""


@dataclass(frozen=True)
class StageSizes:
    """What the cost of a choice depends on.

    Attributes:
        visual: m, visual tokens that are left.
        count: how many of them stay.
        text: tokens that ask, as in :class:`Rows`.
        hidden: d, width of the LLM's hidden states.
        head: width of an attention head.
        keys: width of a token's keys, all heads.
    """

    visual: int
    count: int
    text: int
    hidden: int
    head: int
    keys: int


@dataclass(frozen=True)
class Origin:
    """Where the tokens of one prompt come from; all parts are (tokens,).

    Attributes:
        image: number of its image or video in the prompt.
        crop: number of its crop, or of its frame of a video, counted through the prompt.
        place: raster index in that crop; -1 for a token of several that has no place of its own.
        part: number of the part that the method before the LLM had it in; else its crop.
    """

    image: Tensor
    crop: Tensor
    place: Tensor
    part: Tensor

    def take(self, index: Tensor) -> Origin:
        """Return the tokens at ``index``."""
        return Origin(self.image[index], self.crop[index], self.place[index], self.part[index])

    def to(self, device: torch.device) -> Origin:
        """Return a copy on another device."""
        image, crop = self.image.to(device), self.crop.to(device)
        return Origin(image, crop, self.place.to(device), self.part.to(device))


@dataclass(frozen=True)
class TokensKnown:
    """What is known of one prompt's visual tokens before the LLM runs.

    Attributes:
        grid: (tokens, 2) row and column of each in its crop; None where they form no grid.
        tower: (tokens, ...) what the vision tower knows of each, of each signal in the method's ``reads``.
        origin: where each comes from, if the method needs it.
    """

    grid: Tensor | None = None
    tower: Mapping[Signal, Tensor] = field(default_factory=dict)
    origin: Origin | None = None

    def to(self, device: torch.device) -> TokensKnown:
        """Return a copy on another device."""
        grid = None if self.grid is None else self.grid.to(device)
        tower = {name: value.to(device) for name, value in self.tower.items()}
        origin = None if self.origin is None else self.origin.to(device)
        return TokensKnown(grid, tower, origin)


@dataclass(frozen=True)
class LayerState:
    """One prompt at a stage, before anything is dropped there; m visual tokens are left.

    Attributes:
        stage: number of the stage, from 0.
        places: (m,) which of the prompt's visual tokens are left, counted before the first stage: ascending,
            but for tokens that a stage has moved behind the others (:class:`StageChoice`).
        signals: what the method declares for the stage.
        known: what is known of all of the prompt's visual tokens.
        prepared: what :meth:`~script_exp.pruners.contract.layer_pruner.LayerPruner.prepare` returned for this
            prompt.
    """

    stage: int
    places: Tensor
    signals: Mapping[LayerSignal, Tensor]
    known: TokensKnown = TokensKnown()
    prepared: Tensor | None = None

    @property
    def origin(self) -> Origin:
        """Where the m tokens come from.

        Raises:
            ValueError: if it is not known.
        """
        if self.known.origin is None:
            raise ValueError("this method needs to know where the tokens come from (TokensKnown.origin)")
        return self.known.origin.take(self.places)


@dataclass(frozen=True)
class StageChoice:
    """What a stage leaves of the m visual tokens of one prompt.

    Attributes:
        chosen: (count,) indices below m, distinct: the tokens that stay.
        states: (count, d) hidden states that enter the stage in their places, for methods that merge; None
            for their own.
        moved: how many of ``chosen``, the last ones, stand behind all other visual tokens from now on, in
            this order. A merged token without a place of its own takes that of one of its members, and moves.
        sizes: (count,) how many tokens each stands for, if the method weighs them
            (:attr:`~script_exp.pruners.contract.layer_pruner.LayerPruner.weighs`); None for 1 each.
    """

    chosen: Tensor
    states: Tensor | None = None
    moved: int = 0
    sizes: Tensor | None = None

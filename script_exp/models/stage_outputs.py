"""What the stages of a :class:`script_exp.models.prunable.PrunableModel` return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from script_exp.models.families.adapter import SEPARATOR, EncodedImage, ModelAdapter
from script_exp.models.origins import origin_of
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import TokensKnown
from script_exp.pruners.contract.pruner import Pruner


@dataclass(frozen=True)
class Prompt:
    """The input of the LLM.

    Attributes:
        made: keyword arguments of ``forward``, which leaves them as they are.
    """

    made: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for one call of ``generate``, whose beam search repeats features in place."""
        outputs = self.made.get("mm_encoder_outputs")
        if outputs is None:
            return dict(self.made)
        return self.made | {"mm_encoder_outputs": {name: replace(own) for name, own in outputs.items()}}


@dataclass(frozen=True)
class PrunedPrompt(Prompt):
    """The input of the LLM after pruning.

    Attributes:
        kept: what was kept of each image before the LLM, in the order of the prompt.
        tokens: (batch, length) bool: the visual tokens of the prompt, without separators.
        before: visual tokens of each row before pruning.
        entering: visual tokens of each row that enter the LLM.
        separators: separator tokens of each row that enter the LLM.
        crops: crops of each row through the vision tower.
        budget_crops: crops of each row that the budget is multiplied by.
        offered: visual tokens of each row that a pruner chooses from, including those that the model cuts off
            as padding afterwards.
        grids: patch grids of each row's images, for towers that take images of any size.
        known: what a method inside the LLM may know of each row's visual tokens.
        layer_pruner: the pruner if it runs inside the LLM; None otherwise.
    """

    kept: list[Kept]
    tokens: Tensor
    before: list[int]
    entering: list[int]
    separators: list[int]
    crops: list[int]
    budget_crops: list[int]
    offered: list[int]
    grids: list[list[tuple[int, int, int]]]
    known: list[TokensKnown]
    layer_pruner: LayerPruner | None


@dataclass(frozen=True)
class Generated:
    """The output of the LLM.

    Attributes:
        texts: the answers, stripped.
        remaining: (batch, length) the visual tokens of the prompt that are left after the last layer.
    """

    texts: list[str]
    remaining: Tensor


@dataclass(frozen=True)
class Features:
    """The encoded images of a question, with all that a prompt about them needs, but without their pixels.

    Attributes:
        images: what pruners see and what the prompt's rows are made of; or one video.
        sizes: the processed tensors with their sizes, if the family needs them for positions.
        texts: what stands for each in the prompt, before pruning.
    """

    images: tuple[EncodedImage, ...]
    sizes: dict[str, Tensor]
    texts: tuple[str, ...]

    @property
    def image(self) -> EncodedImage:
        """The image, of a question about one."""
        (image,) = self.images
        return image

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images)

    def to(self, device: torch.device) -> Features:
        """Return a copy on another device; sizes stay where they are."""
        return replace(self, images=tuple(image.to(device) for image in self.images))


def places_in_crops(images: Sequence[EncodedImage]) -> Tensor | None:
    """Return the row and column in its crop of each visual token of a prompt, (tokens, 2).

    None if the tokens of an image form no grid.
    """
    places = []
    for image in images:
        if image.visual.grid is None:
            return None
        # Waits for the device: how many rows are separators.
        source = image.source[image.source != SEPARATOR] % image.visual.projected.shape[1]
        _, columns = image.visual.grid
        places.append(torch.stack([source // columns, source % columns], dim=-1))
    return torch.cat(places)


def known_by_row(
    by_row: Sequence[Sequence[EncodedImage]],
    kept: Sequence[Kept],
    pruner: Pruner | LayerPruner,
    adapter: ModelAdapter,
) -> list[TokensKnown]:
    """Return :func:`known_of` of each row of a batch; ``kept`` is by image, in the order of the rows."""
    left = iter(kept)
    return [known_of(row, list(islice(left, len(row))), pruner, adapter) for row in by_row]


def known_of(
    images: Sequence[EncodedImage], kept: Sequence[Kept], pruner: Pruner | LayerPruner, adapter: ModelAdapter
) -> TokensKnown:
    """Return what is known of each visual token of a prompt.

    Once a method has pruned before the LLM, that is where the tokens come from, if the method inside needs
    it. What the method reads of the vision tower is in float32.

    Args:
        images: of the prompt.
        kept: what a method before the LLM kept of each.
        pruner: the method.
        adapter: of the model.
    """
    if not images or not isinstance(pruner, LayerPruner):
        return TokensKnown()
    origin = origin_of(images, kept, pruner.first, adapter) if pruner.then.needs_origin else None
    if pruner.first is not None:
        return TokensKnown(origin=origin)
    signals, tower = pruner.reads.signals, {}
    if signals:
        own = [image.source[image.source != SEPARATOR] for image in images]  # waits for the device
        for signal in signals:
            values = [
                image.visual.signals[signal].flatten(0, 1)[source].float()
                for image, source in zip(images, own, strict=True)
            ]
            tower[signal] = torch.cat(values)
    return TokensKnown(places_in_crops(images), tower, origin)

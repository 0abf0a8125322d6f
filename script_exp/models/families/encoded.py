"""An image (or a video) after the vision tower and the projector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.visual_tokens import VisualTokens

Visual: TypeAlias = Image.Image | Sequence[Image.Image]
"""What one placeholder of a prompt stands for: an image, or the frames of a video."""

SEPARATOR = -1


@dataclass(frozen=True)
class EncodedImage:
    """One image (or video) after the vision tower and the projector.

    Attributes:
        visual: what a pruner sees; a video's frames are its crops.
        packed: (length, d) the rows that stand for this image in the prompt, in order, before pruning.
        source: (length,) for every packed row the index of its token in ``visual.projected`` flattened over
            crops, or ``SEPARATOR`` for a row that the model puts between tokens (newline). Tokens that the
            model leaves out of the prompt (padding of the picture) have no row.
        crops: number of encoded crops.
        budget_crops: the number that the budget is multiplied by: the crops of ``visual``, or, if the model
            merges all crops into one, the number of crops that this one fills.
        grid: (time, rows, columns) of patches before merging that went through the tower, for towers that
            take images of any size.
        deep: (levels, length, d) what the first decoder layers add to the packed rows, one level after each
            of them (DeepStack); None for models that add nothing.
    """

    visual: VisualTokens
    packed: Tensor
    source: Tensor
    crops: int
    budget_crops: int
    grid: tuple[int, int, int] | None = None
    deep: Tensor | None = None

    def keep(self, kept: Kept, separators: bool) -> tuple[Tensor, Tensor]:
        """Return the rows that remain and their features.

        Args:
            kept: what a pruner kept of ``visual``. Tokens that the model leaves out of the prompt are lost
                from the budget.
            separators: whether separators stay.

        Returns:
            (length,) bool, and the features (rows, d). The aggregated tokens of a merging method come last,
            in place of the last dropped rows, or first (:attr:`Kept.leading`), in place of the first dropped
            ones; where padding leaves fewer of these, the last ones are lost.
        """
        device, is_token = self.packed.device, self.source != SEPARATOR
        slot = torch.full((kept.crops * kept.n,), -1, device=device)  # place of a token among the kept ones
        slot[kept.places] = torch.arange(len(kept.places), device=device)
        wanted = torch.where(is_token, slot[self.source.clamp(min=0)], -1)
        rows = torch.where(is_token, wanted >= 0, torch.tensor(separators, device=device))
        left = rows.nonzero()[:, 0]  # waits for the device: how many rows remain decides the prompt's length
        own = kept.rows[wanted[left].clamp(min=0)]
        features = torch.where(is_token[left, None], own, self.packed[left])
        if not len(kept.first) and not len(kept.last):
            return rows, features
        free = (~rows & is_token).nonzero()[:, 0]  # waits again, for methods that merge
        first = kept.first[: len(free)]
        last = kept.last[: len(free) - len(first)]
        rows[free[: len(first)]] = True
        rows[free[len(free) - len(last) :]] = True
        features = torch.cat([first, features, last])
        return rows, features

    def to(self, device: torch.device) -> EncodedImage:
        """Return a copy on another device."""
        return replace(
            self,
            visual=self.visual.map(lambda tensor: tensor.to(device)),
            packed=self.packed.to(device),
            source=self.source.to(device),
            deep=None if self.deep is None else self.deep.to(device),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors; shared storage counts once."""
        tensors = [*self.visual.tensors().values(), self.packed, self.source]
        tensors += [] if self.deep is None else [self.deep]
        storages = {tensor.untyped_storage() for tensor in tensors}
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

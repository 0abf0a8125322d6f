"""What a pruner keeps of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """The tokens that remain of one image, crop after crop; crops may keep different numbers of them.

    Attributes:
        places: (m,) the kept tokens, ascending: crop * n + raster index in the crop.
        rows: (m, d) what enters the LLM in these places.
        aggregated: (a, d) tokens without a place of their own, equally many of each crop, crop after crop.
        crops: number of crops; the frames of a video are its crops.
        n: tokens of a crop before pruning.
    """

    places: Tensor
    rows: Tensor
    aggregated: Tensor
    crops: int
    n: int

    @classmethod
    def of_each_crop(cls, indices: Tensor, tokens: Tensor, n: int) -> Kept:
        """Return what is left if each crop keeps equally many tokens.

        Args:
            indices: (crops, m) raster indices, ascending.
            tokens: (crops, k, d), those at ``indices`` first; the others are aggregated.
            n: tokens of a crop before pruning.
        """
        crops, single = indices.shape
        first = n * torch.arange(crops, device=indices.device)[:, None]
        own, others = tokens[:, :single], tokens[:, single:]
        return cls((indices + first).flatten(), own.flatten(0, 1), others.flatten(0, 1), crops, n)

    @property
    def by_crop(self) -> list[list[int]]:
        """The raster indices kept of each crop, ascending."""
        kept: list[list[int]] = [[] for _ in range(self.crops)]
        for place in self.places.tolist():
            kept[place // self.n].append(place % self.n)
        return kept

    @property
    def counts(self) -> list[int]:
        """How many tokens each crop keeps, aggregated ones included."""
        own: list[int] = (self.places // self.n).bincount(minlength=self.crops).tolist()
        return [count + len(self.aggregated) // self.crops for count in own]

    @property
    def indices(self) -> Tensor:
        """(crops, most) raster indices, ascending; -1 after those of a crop that keeps fewer than others."""
        rows = [torch.tensor(kept, dtype=torch.long, device=self.places.device) for kept in self.by_crop]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)

    @property
    def tokens(self) -> Tensor:
        """(crops, k, d) the tokens of each crop, aggregated ones last.

        Raises:
            ValueError: if the crops keep different numbers of tokens.
        """
        if len(set(self.counts)) > 1:
            raise ValueError(f"the crops keep {self.counts} tokens: read rows, which are not by crop")
        parts = (self.rows, self.aggregated)
        width = self.rows.shape[-1]
        return torch.cat([part.reshape(self.crops, len(part) // self.crops, width) for part in parts], dim=1)

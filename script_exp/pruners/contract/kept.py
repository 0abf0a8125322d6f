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
        leading: number of aggregated tokens of a crop, the first ones, that enter the LLM before all others.
    """

    places: Tensor
    rows: Tensor
    aggregated: Tensor
    crops: int
    n: int
    leading: int = 0

    @classmethod
    def of_each_crop(cls, indices: Tensor, tokens: Tensor, n: int, leading: int = 0) -> Kept:
        """Return what is left if each crop keeps equally many tokens.

        Args:
            indices: (crops, m) raster indices, ascending.
            tokens: (crops, k, d), those at ``indices`` first; the others are aggregated.
            n: tokens of a crop before pruning.
            leading: number of aggregated tokens of a crop that come first.
        """
        crops, single = indices.shape
        first = n * torch.arange(crops, device=indices.device)[:, None]
        own, others = tokens[:, :single], tokens[:, single:]
        return cls((indices + first).flatten(), own.flatten(0, 1), others.flatten(0, 1), crops, n, leading)

    @property
    def first(self) -> Tensor:
        """(crops * leading, d) the aggregated tokens that enter the LLM before all others."""
        return self._by_crop(self.aggregated)[:, : self.leading].flatten(0, 1)

    @property
    def last(self) -> Tensor:
        """The other aggregated tokens, which enter the LLM last."""
        return self._by_crop(self.aggregated)[:, self.leading :].flatten(0, 1)

    @property
    def by_crop(self) -> list[list[int]]:
        """The raster indices kept of each crop, ascending."""
        kept: list[list[int]] = [[] for _ in range(self.crops)]
        for place in self.places.tolist():  # waits for the device; for records, after the answer
            kept[place // self.n].append(place % self.n)
        return kept

    @property
    def counts(self) -> list[int]:
        """How many tokens each crop keeps, aggregated ones included."""
        # Waits for the device; for records, after the answer.
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
        return torch.cat([self._by_crop(self.rows), self._by_crop(self.aggregated)], dim=1)

    def _by_crop(self, tokens: Tensor) -> Tensor:
        """Return (crops, m, d) of tokens of which each crop has equally many."""
        return tokens.reshape(self.crops, len(tokens) // self.crops, tokens.shape[-1])

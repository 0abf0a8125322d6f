"""What the stages of a :class:`script_exp.models.prunable.PrunableModel` hand on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from script_exp.models.families.adapter import EncodedImage
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Kept


@dataclass(frozen=True)
class PrunedPrompt:
    """What goes into the LLM.

    Attributes:
        arguments: keyword arguments of ``forward`` and ``generate``.
        kept: what was kept of each image before the LLM, in the order of the prompt.
        tokens: (batch, length) bool: the visual tokens of the prompt, separators excepted.
        before: visual tokens of each row before pruning.
        entering: visual tokens of each row that enter the LLM.
        separators: separator tokens of each row that enter the LLM.
        crops: crops of each row through the vision tower.
        budget_crops: crops of each row that the budget is multiplied by.
        offered: visual tokens of each row that a pruner chooses from, those included that the model cuts off
            as padding afterwards.
        grids: patch grids of each row's images, for towers that take images of any size.
        layer_pruner: the pruner that still has to run inside the LLM, if it is one of that kind.
    """

    arguments: dict[str, Any]
    kept: list[Kept]
    tokens: Tensor
    before: list[int]
    entering: list[int]
    separators: list[int]
    crops: list[int]
    budget_crops: list[int]
    offered: list[int]
    grids: list[list[tuple[int, int, int]]]
    layer_pruner: LayerPruner | None


@dataclass(frozen=True)
class Generated:
    """What came out of the LLM.

    Attributes:
        texts: the answers, stripped.
        remaining: (batch, length) the visual tokens of the prompt that are left after the last layer.
    """

    texts: list[str]
    remaining: Tensor


@dataclass(frozen=True)
class Features:
    """One image as it was encoded, with all that a prompt about it needs; its pixels are gone.

    Attributes:
        image: what pruners see and what the prompt's rows are made of.
        sizes: the processed tensors that tell its size, where the family needs them for positions.
        length: rows that it takes in the prompt, before pruning.
    """

    image: EncodedImage
    sizes: dict[str, Tensor]
    length: int

    def to(self, device: torch.device) -> Features:
        """The same on another device; sizes stay where they are."""
        return replace(self, image=self.image.to(device))

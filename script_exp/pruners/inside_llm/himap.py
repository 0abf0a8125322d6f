"""HiMAP: early, keep what the text attends to; later, what the visual tokens attend to.

Source: HiMAP, CVPR 2025, arXiv 2503.13108.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.pruners.contract.layer_signals import LayerSignal, Rows
from script_exp.pruners.contract.listed_pruner import ListedPruner


@dataclass(kw_only=True)
class HiMAP(ListedPruner):
    """Rank by attention of the layer before the stage, mean over the heads, summed over rows.

    The rows are those of the text behind the image at the first stage, and those of the visual tokens that
    are left at the second. Since a row sees only what comes before it, early tokens are in more rows of the
    second kind: the top of the image is favored, as in the released code. Positions stay.

    Published are 288 and 72 of 576 tokens from layers 2 and 8 on, a mean of 144 over 32 layers.
    """

    stages: Sequence[int | float] = (2 / 32, 8 / 32)
    lists: ClassVar[Mapping[int, Sequence[float]]] = {144: (0.5, 0.125)}

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([Rows("text" if stage == 0 else "visual", heads="mean")])

    def score(self, attention: Tensor) -> Tensor:
        return attention.sum(dim=0)

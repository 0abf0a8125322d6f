"""HiPrune: what the tower's middle and deep layers attend to.

Source: "HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models",
arXiv 2508.00553, section on anchor, buffer and register tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.signals import Signal, check_layer
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_DEEP = Signal("received")


@dataclass(kw_only=True)
class HiPrune(Pruner):
    """Keep the anchors of a middle layer, the patches around them, and the best of the deep layer.

    With g^l_i, the attention that patch i receives in layer l of the tower, mean over the heads and over all
    queries, the class token's included:

    1. the m = round(alpha k / 5) patches with the highest g of the object layer are the anchors;
    2. with the patches left, right, above and below, i - 1, i + 1, i - W and i + W on a grid of W columns,
       they are kept. As released, indices are cut to the crop, so that a row continues in the next one.
    3. The rest of the budget goes to the highest g of the layer that the model reads, others than these.

    m is at most k / 5, which matters only for alpha near 1. No class token is needed, so all towers are
    treated alike. Where tokens form no grid (LLaVA-OneVision scales large pictures' tokens down), there is
    nothing above and below. On LLaVA-NeXT the released code divides a total by the number of crops; here the
    budget is per crop.

    Attributes:
        alpha: share of the budget for anchors and their neighbors.
        layer: the object layer, as in :class:`Signal`: 0.39 is the published one, the 9th of CLIP
            ViT-L/14-336 and the 16th of Qwen2.5-VL.
    """

    alpha: float = 0.1
    layer: int | float = 0.39

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, lambda v: 0 <= v <= 1, "a share of the budget in [0, 1]")
        check_layer(self.layer)

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([Signal("received", self.layer), _DEEP])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        objects, deep = visual.signals[Signal("received", self.layer)], visual.signals[_DEEP]
        columns = 0 if visual.grid is None else visual.grid[1]
        anchors = top_indices(objects, min(round(self.alpha * k / 5), k // 5))
        steps = torch.tensor([0, -1, 1, -columns, columns], device=anchors.device)
        crosses = (anchors[:, :, None] + steps).clamp(0, deep.shape[1] - 1).flatten(1)
        return top_indices(deep.scatter(1, crosses, torch.inf), k)

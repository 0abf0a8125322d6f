"""PruMerge: the patches that the class token attends to, each with its neighbors poured in.

Source: Shang et al., "LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models", ICCV
2025, arXiv 2403.15388, sections on adaptive token selection and token supplement.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import SettingError, check_choice, check_whole
from script_exp.pruners.arithmetic.merging import dropped
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.before_llm.trim import NO_PROJECTOR
from script_exp.pruners.contract.pruner import Pruner, Query, VisualTokens, gather_tokens, top_indices
from script_exp.pruners.contract.signals import Signal


@dataclass(kw_only=True)
class PruMerge(Pruner):
    """Keep the k - 1 most attended patches with their neighbors added, and one token for all others.

    With b_i the attention of the class token and k_i the keys, both of one head as wide as the tower, and
    x_i the tower's features, which then enter the projector:

    1. The patches with the highest b are kept.
    2. N_i are the ``neighbors`` tokens whose keys have the highest cosine with k_i, kept ones included and i
       itself excluded. A kept token becomes x_i + sum over j in N_i of b_j x_j, all x_j being original.
    3. One more token is the sum of b_j x_j over all tokens that are not kept.

    The sums are not divided by the sum of the weights, as in the released code; the paper speaks of a
    weighted average. The released code keeps as many patches as are outliers of b (above Q3 + 1.5 IQR), so
    its count differs between images. The fixed count is ours: it makes budgets comparable. Kept tokens are in
    raster order, in the released code by descending b. Where a tower has no class token, b is the attention
    that a patch receives, and ``layer`` has to be at most 0 if the tower ends with the layer that is read.

    Attributes:
        neighbors: tokens poured into each kept one; all others if there are fewer.
        layer: of b and k, relative to the layer whose output is read; 1 is the layer after it (released).
        aggregate: spend one token of the budget on the sum over the others. With a budget of 1, the most
            attended token is kept instead.
    """

    neighbors: int = 32
    layer: int = 1
    aggregate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("neighbors", self.neighbors, 1)
        if isinstance(self.layer, bool) or not isinstance(self.layer, int) or self.layer > 1:
            raise SettingError("layer", self.layer, "a whole number <= 1, where 0 is the layer that is read")
        check_choice("aggregate", self.aggregate, (True, False))

    @property
    def aggregates(self) -> bool:
        return self.aggregate

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([Signal("flat_saliency", self.layer), Signal("flat_keys", self.layer)])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return top_indices(self._attention(visual), self._single(k))

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        n, x, b = visual.projected.shape[1], visual.features.float(), self._attention(visual)
        similarity = gather_tokens(cosines(visual.signals[Signal("flat_keys", self.layer)]), indices)
        similarity.scatter_(2, indices[..., None], -torch.inf)  # no token is its own neighbor
        nearest = top_indices(similarity, min(self.neighbors, n - 1))
        weights = torch.zeros_like(similarity).scatter_(2, nearest, 1.0) * b[:, None]
        rows = gather_tokens(x, indices) + weights @ x
        if indices.shape[1] == self.kept_of(n):
            return visual.enter(rows)
        if visual.tower is None:
            raise SettingError("aggregate", True, NO_PROJECTOR)
        rest = (b * dropped(indices, n))[:, None] @ x
        return visual.enter(torch.cat([rows, rest], dim=1))

    def _single(self, k: int) -> int:
        return k - 1 if self.aggregate and k > 1 else k

    def _attention(self, visual: VisualTokens) -> Tensor:
        return visual.signals[Signal("flat_saliency", self.layer)]

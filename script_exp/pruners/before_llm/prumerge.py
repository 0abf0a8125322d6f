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
from script_exp.pruners.arithmetic.unequal import outliers, output_of_each_crop
from script_exp.pruners.before_llm.trim import NO_PROJECTOR
from script_exp.pruners.contract.pruner import Pruner, gather_tokens, top_indices
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


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
    weighted average. Kept tokens are in raster order, in the released code by descending b. Where a tower has
    no class token, b is the attention that a patch receives, and ``layer`` has to be at most 0 if the tower
    ends with the layer that is read.

    With ``count="adaptive"``, as released, floor(rho n) patches of each crop are kept, at least one: rho is
    the share of outliers of b, above Q3 + 1.5 (Q3 - Q1), in all crops of the image. The budget is then the
    most that a crop keeps: one that would keep more keeps exactly the budget, by the rule for a fixed count.
    The released code has no such limit; a budget of all n tokens of a crop takes it away.

    Attributes:
        count: how many tokens remain: ``fixed``: the budget, which is ours and makes budgets comparable; or
            ``adaptive``.
        neighbors: tokens poured into each kept one; all others if there are fewer.
        layer: of b and k, relative to the layer whose output is read; 1 is the layer after it (released).
        aggregate: spend one token of the budget on the sum over the others. With a budget of 1, the most
            attended token is kept instead.
    """

    count: str = "fixed"
    neighbors: int = 32
    layer: int = 1
    aggregate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("count", self.count, ("fixed", "adaptive"))
        check_whole("neighbors", self.neighbors, 1)
        if isinstance(self.layer, bool) or not isinstance(self.layer, int) or self.layer > 1:
            raise SettingError("layer", self.layer, "a whole number <= 1, where 0 is the layer that is read")
        check_choice("aggregate", self.aggregate, (True, False))

    @property
    def aggregates(self) -> bool:
        return self.aggregate

    @property
    def adaptive(self) -> bool:
        return self.count == "adaptive"

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([Signal("flat_saliency", self.layer), Signal("flat_keys", self.layer)])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        b = self._attention(visual)
        if not self.adaptive:
            return self.fixed(b, k)
        count, places = max(1, outliers(b)), []
        for crop, own in enumerate(b):
            kept = self.released(own, count, b.numel())
            kept = kept if len(kept) <= self._single(k) else self.fixed(own[None], k)[0]
            places.append(crop * len(own) + kept)
        return torch.cat(places)

    def fixed(self, b: Tensor, k: int) -> Tensor:
        """Return the indices (crops, m) of the kept patches, given b (crops, n) and k tokens of each crop."""
        return top_indices(b, self._single(k))

    def released(self, b: Tensor, count: int, tokens: int) -> Tensor:
        """Return the indices (m,) of one crop's kept patches, given b (n,) and rho = count / tokens."""
        return top_indices(b, max(1, len(b) * count // tokens))

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        if indices.ndim == 1:
            return output_of_each_crop(visual, indices, self.output)
        n, x, b = visual.projected.shape[1], visual.features.float(), self._attention(visual)
        similarity = gather_tokens(cosines(visual.signals[Signal("flat_keys", self.layer)]), indices)
        similarity.scatter_(2, indices[..., None], -torch.inf)  # no token is its own neighbor
        nearest = top_indices(similarity, min(self.neighbors, n - 1))
        weights = torch.zeros_like(similarity).scatter_(2, nearest, 1.0) * b[:, None]
        rows = gather_tokens(x, indices) + weights @ x
        if not self.aggregate or indices.shape[1] == self.kept_of(n):
            return visual.enter(rows)
        if visual.tower is None:
            raise SettingError("aggregate", True, NO_PROJECTOR)
        rest = (b * dropped(indices, n))[:, None] @ x
        return visual.enter(torch.cat([rows, rest], dim=1))

    def _single(self, k: int) -> int:
        return k - 1 if self.aggregate and k > 1 else k

    def _attention(self, visual: VisualTokens) -> Tensor:
        return visual.signals[Signal("flat_saliency", self.layer)]

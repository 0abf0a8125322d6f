"""GSP, graph-structured pruning: Script's redundancy module.

Source: Yang et al., "Script: Graph-Structured and Query-Conditioned Semantic Token Pruning for MLLMs",
arXiv 2512.01949, section on GSP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number
from script_exp.pruners.contract.pruner import ScorePruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class GraphRedundancy:
    """The redundancy of a token: how many tokens of the other side resemble it, and how closely.

    The tokens h_i are split by the parity of their raster index into V_src (even) and V_dst (odd). Only
    the n/2 x n/2 cosines S_ij between the two sides are computed, a quarter of all pairs. With the edges
    S_ij >= tau, d_i the number of edges of token i and mu_i the mean similarity over them,

        R_i = d_i * exp(gamma * (mu_i - tau)).

    The public excerpts of the paper describe d, mu and the threshold, but neither how they are combined nor
    how V_dst is scored. Here they are combined as in every released code version. Both sides are scored, each
    against the other, because a one-sided score would keep all of V_dst. A token without an edge has R = 0.
    The released code's guard for tokens with fewer than 4 edges is omitted, because it mixes two scales.

    Attributes:
        threshold: tau, the smallest cosine that makes an edge (0.2 in the released code).
        gamma: weight of the mean similarity relative to the degree (1.0 in the released code).
    """

    threshold: float = 0.2
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, lambda v: -1 <= v <= 1, "a cosine similarity in [-1, 1]")
        check_number(
            "gamma", self.gamma, lambda v: 0 <= v <= 40, "a number in [0, 40]; more can overflow float32"
        )

    def redundancy(self, projected: Tensor) -> Tensor:
        """Return R of every token, (crops, n), from projected tokens (crops, n, d)."""
        unit = functional.normalize(projected, dim=-1)
        return self.redundancy_from(unit[:, 0::2] @ unit[:, 1::2].mT)

    def redundancy_from(self, similarity: Tensor) -> Tensor:
        """Return R of every token, (crops, n), from the cosines (crops, V_src, V_dst)."""
        crops, sources, targets = similarity.shape
        edges = similarity >= self.threshold
        weights = similarity * edges
        scores = similarity.new_empty(crops, sources + targets)
        scores[:, 0::2] = self._combine(edges.sum(dim=2), weights.sum(dim=2))
        scores[:, 1::2] = self._combine(edges.sum(dim=1), weights.sum(dim=1))
        return scores

    def _combine(self, degree: Tensor, weight: Tensor) -> Tensor:
        mean = weight / degree.clamp(min=1)
        return degree * torch.exp(self.gamma * (mean - self.threshold))


@dataclass(kw_only=True)
class Graph(GraphRedundancy, ScorePruner):
    """Script's graph module alone: keep the k least redundant tokens, regardless of the question."""

    def __post_init__(self) -> None:
        GraphRedundancy.__post_init__(self)
        ScorePruner.__post_init__(self)

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        return -self.redundancy(visual.projected)

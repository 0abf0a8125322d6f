"""G-Prune: importance that spreads along a graph of similar tokens.

Source: Jiang et al., "What Kind of Visual Tokens Do We Need? Training-Free Visual Token Pruning for
Multi-Modal Large Language Models from the Perspective of Graph", AAAI 2025, arXiv 2501.02268, section on
graph-based pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_number, check_whole
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import ScorePruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_NO_EDGE = -5000.0
_ZERO = 1e-6


@dataclass(kw_only=True)
class GPrune(ScorePruner):
    """Keep the k tokens with the highest importance after a few steps of propagation.

    With the projected tokens p_i, c_ij = cos(p_i, p_j), and an edge where c_ij >= threshold (each token has
    one with itself), A is the softmax over the edges of a row at temperature t:

        A_ij = exp(c_ij / t) / sum over edges (i, l) of exp(c_il / t),   w_i = |p_i|_2,
        score_j = (w A^steps)_j / d_j,   d_j the number of positive entries in row j of A.

    As in the released code, an entry without an edge is -5000 before the softmax, so that it underflows to 0.
    The released code covers LLaVA-NeXT alone, where it prunes the base image and the grid of crops apart and
    keeps all separators and the original positions; here each crop is pruned alone, and positions are the
    model's setting. The question and attention are not used, so all towers are treated alike.

    Attributes:
        threshold: smallest cosine that makes an edge.
        temperature: t, of the softmax.
        steps: steps of propagation.
    """

    threshold: float = 0.5
    temperature: float = 0.03
    steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, lambda v: -1 <= v <= 1, "a cosine similarity in [-1, 1]")
        check_number("temperature", self.temperature, lambda v: 0.001 <= v <= 100, "a number in [0.001, 100]")
        check_whole("steps", self.steps, 0, 1000)

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        similarity = cosines(visual.projected)
        logits = similarity.masked_fill(similarity < self.threshold, 0) / self.temperature
        graph = logits.masked_fill(logits.abs() < _ZERO, _NO_EDGE).softmax(dim=-1)
        importance: Tensor = torch.linalg.vector_norm(visual.projected, dim=-1)[:, None]
        for _ in range(self.steps):
            importance = importance @ graph
        return importance[:, 0] / (graph > 0).sum(dim=-1)

"""What the released Script code computes, version by version: for comparison, not for use.

Source: the public repository of Script (arXiv 2512.01949), its behavior as read from the commits named below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_choice
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map
from script_exp.pruners.arithmetic.merging import merge_dropped
from script_exp.pruners.arithmetic.released_script import intersect, released_loop, released_redundancy
from script_exp.pruners.arithmetic.similarity import cosines, min_max
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_EPSILON = 1e-6


@dataclass(kw_only=True)
class ScriptReleased(Pruner):
    """The released code by version.

    - ``head`` (7e5e2f3): embeddings not normalized; graph over all pairs that keeps the *most* redundant
      tokens; a selection loop that is not greedy MAP (:func:`released_loop`); the intersection padded from
      the loop's own k tokens, so the result is always the loop's set and the graph has no effect.
    - ``first`` (a384841): CDPruner: normalized embeddings, r with + 1e-6, greedy MAP, no graph.
    - ``build`` (1538f49): embeddings not normalized, greedy MAP, no graph; every dropped token is averaged
      into the kept token that it resembles most. This is the version's path for LLaVA-1.5, used here for
      every model; its path for LLaVA-NeXT drops these tokens.
    - ``plot`` (the figure script): tower features instead of projected tokens; r from *plus* the similarity,
      embeddings not normalized; the graph keeps the *least* redundant tokens, and their intersection with
      greedy MAP is padded by relevance.

    The sign of relevance is the model's, as in :class:`Query`. ``plot`` takes the opposite sign, because that
    script does not flip it and all other versions do.

    Not reproduced, because a method here keeps exactly k distinct tokens: beyond the kernel's rank, the loop
    of ``first``, ``build`` and ``plot`` takes the root of a negative residual. All residuals become NaN, the
    loop picks the first two tokens in turn, and fewer than k are kept. Here :func:`greedy_map` stops at the
    rank, and the rest follows relevance. ``build`` and ``plot`` also divide by d_i + 1e-6 instead of d_i; the
    1e-6 is left out, since it matters only near the rank. A 1e-6 in the denominator of r scales all of r
    alike and never changes a pick.

    Attributes:
        version: ``head``, ``first``, ``build`` or ``plot``.
    """

    version: str = "head"
    needs_query: ClassVar[bool] = True
    query_text: ClassVar[str] = "released"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("version", self.version, ("head", "first", "build", "plot"))

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if query is None or visual.joint is None:
            raise ValueError("query or patch embeddings are missing")
        relevance = self.relevance(visual.joint, query)
        features = visual.projected
        if self.version == "plot" and visual.tower is not None:
            features = visual.tower.float()
        similarity = cosines(features)
        kernel = dpp_kernel(similarity, relevance)
        if self.version == "head":
            picks = released_loop(kernel, k)
            return intersect(
                top_indices(released_redundancy(similarity), k), picks, relevance, pad_from=picks
            )
        picks = greedy_map(kernel, k)
        if self.version == "plot":
            graph_set = top_indices(-released_redundancy(similarity), k)
            return intersect(graph_set, picks, relevance, pad_from=None)
        return picks

    def relevance(self, joint: Tensor, query: Query) -> Tensor:
        """Return r (crops, n) with the version's own normalization, sign and choice of segments."""
        segments = query.embeddings
        if self.version == "first":
            raw = query.sign * (_unit(joint) @ _unit(segments).mT).mean(dim=-1)
            low, high = raw.amin(), raw.amax()
            return (raw - low + _EPSILON) / (high - low)
        if self.version == "plot":
            return min_max(-query.sign * (joint @ segments.mT).mean(dim=-1))
        share = (joint @ segments.mT).mean(dim=1)  # each crop takes the half of the segments nearest to it
        best = segments[top_indices(share, max(1, segments.shape[0] // 2))]
        raw = query.sign * (joint @ best.mT).mean(dim=-1)
        low, high = raw.amin(dim=-1, keepdim=True), raw.amax(dim=-1, keepdim=True)
        return (raw - low) / (high - low + _EPSILON)

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        if self.version == "build":
            return merge_dropped(visual.projected, indices)
        return super().output(visual, indices)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)

"""QCSP, query-conditioned semantic pruning: Script's relevance module.

Sources: Yang et al. (Script), arXiv 2512.01949, section on QCSP; the kernel is that of CDPruner (Zhang et
al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_choice
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map
from script_exp.pruners.arithmetic.similarity import cosines, min_max
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class QueryDPP:
    """A DPP over the visual tokens whose kernel combines their similarity with relevance to the question.

    With the patch embeddings e_i and the question's segments t_m in the query encoder's space,

        s_i = sign * mean_m cos(e_i, t_m),   r_i = (s_i - min s) / (max s - min s),   L_ij = r_i S_ij r_j,

    where S is the cosine similarity of the projected tokens.

    Attributes:
        sign: +1 or -1 to override the sign that the model declares for its query encoder (:class:`Query`).
        relevance_range: the tokens over which r runs from 0 to 1: each ``crop`` alone (the released code) or
            all crops of the ``image`` (CDPruner), so that r stays low in a crop without relevant content.
        normalize: whether s_i is a cosine, as in the first released version and in CDPruner, or the plain dot
            product of the last released version, which depends on the patches' norms.
    """

    sign: int | None = None
    relevance_range: str = "crop"
    normalize: bool = True

    def __post_init__(self) -> None:
        check_choice("sign", self.sign, (None, 1, -1), "1, -1, or null for the model's own")
        check_choice("relevance_range", self.relevance_range, ("crop", "image"))
        check_choice("normalize", self.normalize, (True, False))

    def relevance(self, visual: VisualTokens, query: Query) -> Tensor:
        """Return r in [0, 1], (crops, n), from the patch embeddings and the query."""
        return min_max(self.agreement(visual, query), self.relevance_range)

    def agreement(self, visual: VisualTokens, query: Query) -> Tensor:
        """Return s, (crops, n): the mean similarity to the question's segments, with the sign."""
        if visual.joint is None:
            raise ValueError("the patches' embeddings in the query encoder's space are missing")
        patches, segments = visual.joint, query.embeddings
        if self.normalize:
            patches, segments = functional.normalize(patches, dim=-1), functional.normalize(segments, dim=-1)
        sign = query.sign if self.sign is None else self.sign
        return sign * (patches @ segments.T).mean(dim=-1)

    def order(self, visual: VisualTokens, query: Query, picks: int) -> Tensor:
        """Return the DPP's first ``picks`` tokens in pick order, (crops, picks)."""
        visual, query = precise(visual, query)
        kernel = dpp_kernel(cosines(visual.projected), self.relevance(visual, query))
        return greedy_map(kernel, picks)


def precise(visual: VisualTokens, query: Query) -> tuple[VisualTokens, Query]:
    """Return what the DPP's kernel is computed from: in float64 if there are more tokens than dimensions.

    The picks of such tokens reach the kernel's rank, where residuals are 1e-9 of the diagonal, far below the
    rounding of a float32 kernel. Otherwise float32 has digits enough, and many GPUs compute it much faster.
    """
    _, n, width = visual.projected.shape
    if n <= width:
        return visual, query
    joint = None if visual.joint is None else visual.joint.double()
    visual = replace(visual, projected=visual.projected.double(), joint=joint)
    return visual, replace(query, embeddings=query.embeddings.double())


@dataclass(kw_only=True)
class QueryConditioned(QueryDPP, Pruner):
    """Script's query module alone: keep the DPP's first k picks."""

    needs_query: ClassVar[bool] = True

    def __post_init__(self) -> None:
        QueryDPP.__post_init__(self)
        Pruner.__post_init__(self)

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if query is None:
            raise ValueError("query is missing")
        return self.order(visual, query, k)

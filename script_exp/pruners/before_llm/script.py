"""Script: graph redundancy and query relevance combined.

Source: Yang et al., "Script: Graph-Structured and Query-Conditioned Semantic Token Pruning for MLLMs", TMLR
2025, arXiv 2512.01949.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import check_choice, check_number
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.before_llm.graph import GraphRedundancy
from script_exp.pruners.before_llm.query import QueryDPP, precise
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class Script(Pruner):
    """Keep tokens that the graph does not find redundant, in the order in which the query's DPP picks them.

    The paper keeps the intersection of the two modules' kept sets. If both sets held k tokens, the
    intersection would nearly always be smaller than k. Padding it from the DPP's set of size k, as the
    released code does, gives back exactly the DPP's set, so the graph has no effect. Here the two sets are
    therefore larger than k:

    1. the graph keeps the share ``graph_keep`` of the n tokens, the least redundant ones;
    2. the DPP picks ``walk`` * k tokens, in order;
    3. the picks that the graph kept are taken in that order until there are k;
    4. if there are fewer than k, ``padding`` supplies the rest.

    ``graph_keep=1`` is the query module alone, and so is ``walk=1`` with ``padding=dpp``.

    Attributes:
        graph: the redundancy module.
        query: the relevance module.
        graph_keep: share of the tokens in the graph's kept set, in (0, 1]; the set is never smaller than k.
        walk: DPP picks per token of the budget, >= 1. With 2, a graph set of half the tokens fills the budget
            on average.
        padding: where missing tokens come from: ``dpp`` (its first picks, kept by the graph or not),
            ``relevance`` (the most relevant) or ``graph`` (the least redundant). Not stated in the paper's
            public excerpts.
    """

    graph: GraphRedundancy = field(default_factory=GraphRedundancy)
    query: QueryDPP = field(default_factory=QueryDPP)
    graph_keep: float = 0.5
    walk: float = 2.0
    padding: str = "dpp"
    needs_query: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("graph_keep", self.graph_keep, lambda v: 0 < v <= 1, "a share of the tokens in (0, 1]")
        check_number("walk", self.walk, lambda v: 1 <= v < math.inf, "a number >= 1")
        check_choice("padding", self.padding, ("dpp", "relevance", "graph"))

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if query is None:
            raise ValueError("query is missing")
        crops, n, _ = visual.projected.shape
        visual, query = precise(visual, query)
        similarity = cosines(visual.projected)  # the graph's cosines are a quarter of the DPP's
        redundancy = self.graph.redundancy_from(similarity[:, 0::2, 1::2])
        relevance = self.query.relevance(visual, query)
        order = greedy_map(dpp_kernel(similarity, relevance), min(n, math.ceil(self.walk * k)))

        graph_set = torch.zeros(crops, n, dtype=torch.bool, device=redundancy.device)
        graph_set.scatter_(1, top_indices(-redundancy, max(k, math.ceil(self.graph_keep * n))), True)
        picks = order.shape[1]
        # Earlier DPP picks rank higher: picks - rank, and 0 for tokens that it did not pick.
        turn = torch.zeros(crops, n, device=redundancy.device)
        turn.scatter_(1, order, torch.arange(picks, 0, -1.0, device=turn.device).expand(crops, picks))

        padding = {"dpp": turn, "relevance": relevance, "graph": -redundancy}[self.padding]
        intersection = graph_set & (turn > 0)
        # Two sort keys, the more significant one last: a stable sort keeps the first key's order among ties.
        by_padding = top_indices(padding, n)
        walked = (turn * intersection).gather(1, by_padding)
        return by_padding.gather(1, top_indices(walked, k))

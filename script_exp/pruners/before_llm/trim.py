"""TRIM: the tokens most relevant to the question, and one aggregated token for all others.

Source: Song et al., "Less is more: a simple yet effective token reduction method for efficient multi-modal
LLMs", COLING 2025, arXiv 2409.10994.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import SettingError, check_choice
from script_exp.pruners.contract.pruner import ScorePruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

NO_PROJECTOR = "false: the model has no projector to make an aggregated token"


@dataclass(kw_only=True)
class Trim(ScorePruner):
    """Keep the k - 1 most relevant tokens in order, then one token that is the mean of all dropped ones.

    The relevance is sign * <e_i, t> without normalization, where t is the question's first segment (TRIM
    truncates the text). The question is the bare one; the released code embeds the prompt with the
    benchmark's instruction ("Answer the question using a single word or phrase."). Its softmax over the
    tokens preserves their order, so it is not computed. The mean is taken in the vision tower's space, before
    the projector, as in the paper. The paper's automatic choice of k by the interquartile range is omitted,
    because the budget is given here. The aggregated token counts against the budget.

    Attributes:
        aggregate: spend one token of the budget on the mean of the dropped ones. With a budget of 1, the most
            relevant token is kept instead.
    """

    aggregate: bool = True
    needs_query: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("aggregate", self.aggregate, (True, False))

    @property
    def aggregates(self) -> bool:
        return self.aggregate

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        if query is None or visual.joint is None:
            raise ValueError("query or patch embeddings are missing")
        return query.sign * (visual.joint @ query.embeddings[0])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        single = k - 1 if self.aggregate and k > 1 else k
        return self.best(visual, query, single)

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        kept = super().output(visual, indices)
        if indices.shape[1] == self.kept_of(visual.projected.shape[1]):
            return kept
        if visual.tower is None or visual.project is None:
            raise SettingError("aggregate", True, NO_PROJECTOR)
        dropped = torch.ones(visual.projected.shape[:2], device=indices.device).scatter_(1, indices, 0.0)
        mean = (visual.tower.float() * dropped[..., None]).sum(dim=1) / dropped.sum(dim=1, keepdim=True)
        return torch.cat([kept, visual.enter(mean)[:, None]], dim=1)

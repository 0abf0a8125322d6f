"""CDPruner: a DPP over the visual tokens, conditioned on the question.

Source: Zhang et al., "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in
MLLMs", NeurIPS 2025, arXiv 2506.10967, section on the conditional DPP.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.similarity import min_max
from script_exp.pruners.before_llm.query import QueryConditioned
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class CDPruner(QueryConditioned):
    """Keep the first k picks of the DPP with the kernel L_ij = r_i S_ij r_j.

    This is Script's query module (``pruner=query``) with the relevance of CDPruner's released code, which is
    scaled over all crops of the image together and never zero:

        r_i = (s_i - min s + offset) / (max s - min s).

    s_i is the mean cosine of patch i and the question's segments in the query encoder's space, S the cosines
    of the projected tokens. The released sign is negative, which is the model's here: CDPruner's author found
    it right for CLIP alone. Towers with and without a class token are treated alike. The question is the
    bare one; ``query_text=released`` is that of the released scripts.

    Attributes:
        offset: what is added to the numerator of r.
    """

    relevance_range: str = "image"
    offset: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("offset", self.offset, lambda v: 0 <= v <= 1, "a number in [0, 1]")

    def relevance(self, visual: VisualTokens, query: Query) -> Tensor:
        return min_max(self.agreement(visual, query), self.relevance_range, self.offset)

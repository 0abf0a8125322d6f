"""PruMerge+: PruMerge with a uniform sample of the grid.

Source: Shang et al., "LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models", ICCV
2025, arXiv 2403.15388, section on PruMerge+.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.merging import dropped, raster
from script_exp.pruners.before_llm.prumerge import PruMerge
from script_exp.pruners.contract.pruner import Query, VisualTokens, top_indices


@dataclass(kw_only=True)
class PruMergePlus(PruMerge):
    """PruMerge in which most kept patches are spread evenly over the image.

    K = round(``attended`` k) patches are the most attended ones. The other s = k - 1 - K are the tokens
    floor((j + 0.5) m / s), j = 0 ... s - 1, of the m patches that are not kept yet, in raster order.
    Neighbors and the token for all others are as in :class:`PruMerge`.

    The released code derives K and the stride of the sample from the outliers of the attention, so that the
    count differs between images (47 tokens for a share of 0.02, all 576 from 0.2 on), and never samples the
    last patch. The fixed count and its even spread are ours; published tables at 192, 128 and 64 tokens are
    each somebody's own modification, with counts that are not exact. K = 13 of 64 follows one of them.

    Attributes:
        attended: share of the budget for the most attended patches, at least one.
    """

    attended: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("attended", self.attended, lambda v: 0 < v < 1, "a share of the budget in (0, 1)")

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        n, single = visual.projected.shape[1], self._single(k)
        best = top_indices(self._attention(visual), min(max(1, round(self.attended * k)), single))
        left, spread = n - best.shape[1], single - best.shape[1]
        step = torch.arange(spread, device=best.device)
        return torch.cat(
            [best, raster(dropped(best, n), left)[:, (2 * step + 1) * left // (2 * max(1, spread))]], dim=1
        )

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
from script_exp.pruners.contract.pruner import top_indices


@dataclass(kw_only=True)
class PruMergePlus(PruMerge):
    """PruMerge in which most kept patches are spread evenly over the image.

    K = round(``attended`` k) patches are the most attended ones. The other s = k - 1 - K are the tokens
    floor((j + 0.5) m / s), j = 0 ... s - 1, of the m patches that are not kept yet, in raster order.
    Neighbors and the token for all others are as in :class:`PruMerge`. This count and its even spread are
    ours; published tables at 192, 128 and 64 tokens are each somebody's own modification, with counts that
    are not exact. K = 13 of 64 follows one of them.

    With ``count="adaptive"``, as released, K = floor(rho n), and the sample is 0, step, 2 step, ... < n - 1,
    where step = floor(floor(1 / rho) / 3), without those that are kept already: about 47 tokens of 576 for
    rho = 0.02, 230 for 0.1, all from 0.2 on. The last patch is never sampled. Above rho = 1/3 the step is 0
    and the released code fails; here it is 1. The budget is the most that a crop keeps, as in PruMerge.

    Attributes:
        attended: share of the budget for the most attended patches, at least one, where the count is fixed.
    """

    attended: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("attended", self.attended, lambda v: 0 < v < 1, "a share of the budget in (0, 1)")

    def fixed(self, b: Tensor, k: int) -> Tensor:
        n, single = b.shape[1], self._single(k)
        best = top_indices(b, min(max(1, round(self.attended * k)), single))
        left, spread = n - best.shape[1], single - best.shape[1]
        step = torch.arange(spread, device=best.device)
        return torch.cat(
            [best, raster(dropped(best, n), left)[:, (2 * step + 1) * left // (2 * max(1, spread))]], dim=1
        )

    def released(self, b: Tensor, count: int, tokens: int) -> Tensor:
        best = super().released(b, count, tokens)
        step = max(1, tokens // count // 3)
        sample = torch.zeros(len(b), dtype=torch.bool, device=b.device)
        sample[: len(b) - 1 : step] = True
        sample[best] = True
        return sample.nonzero()[:, 0]  # waits for the device: the picture decides how many

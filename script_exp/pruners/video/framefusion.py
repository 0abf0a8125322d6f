"""FrameFusion's merging, before the first layer: runs of alike tokens become their mean.

Source: Fu et al., "FrameFusion: Combining Similarity and Importance for Video Token Reduction on Large Vision
Language Models", ICCV 2025, arXiv 2501.01986, section on merging by similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.over_time import change
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.video_pruner import MergingVideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class FrameFusion(MergingVideoPruner):
    """Merge the tokens that are most like their place one frame before, until the total is met.

    A pair is a token and the one at the same place one frame before. The pairs with the highest cosines of
    projected tokens are merged, the last of equal ones, as many as have to go. Pairs that follow each other
    at a place form a run, which becomes the mean of its members in the place of the first one.

    This is what the released code does before layer 0 where alike pairs are more than enough for its budget.
    Where they are not, it merges only pairs with a cosine of at least 0.6, goes on with the hidden states of
    the first layers, and then prunes once by attention: see
    :class:`~script_exp.pruners.inside_llm.framefusion_inside.FrameFusionInside`. Here all of the budget is
    met by merging, whatever the cosine. The released code sums a run in the model's dtype, which drifts in
    half precision; here in float32. A budget below one frame keeps its first tokens.
    """

    def merged(self, video: VisualTokens, total: int) -> tuple[Tensor, Tensor]:
        x = video.projected
        frames, n, _ = x.shape
        new = n + top_indices(change(x[1:], x[:-1]).flatten(), max(0, total - n))
        joined = torch.arange(frames * n, device=x.device) >= n
        joined[new] = False
        joined = joined.view(frames, n)
        means, here = torch.empty_like(x), torch.arange(n, device=x.device)
        sums, members, first = x[0], torch.ones(n, 1, device=x.device), torch.zeros_like(here)
        for t in range(frames):
            goes_on = joined[t, :, None]
            sums = torch.where(goes_on, sums + x[t], x[t])
            members = torch.where(goes_on, members + 1, 1)
            first = torch.where(joined[t], first, t)
            means[first, here] = sums / members  # the last member of a run writes the final one
        places = torch.cat([here, new.sort().values])[:total]
        return places, means.flatten(0, 1)[places]

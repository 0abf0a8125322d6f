"""EVS: the tokens that have changed since the frame before.

Source: NVIDIA, "Efficient Video Sampling", arXiv 2510.14624, section on pruning temporally static patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.pruners.arithmetic.over_time import change
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.video_pruner import VideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class EVS(VideoPruner):
    """Keep the first frame, and of all others the tokens that differ most from their place one frame before.

    With the tokens p_{t,i} of frame t, the score is 1 - cos(p_{t,i}, p_{t-1,i}), and higher than any other
    for all tokens of the first frame. The tokens with the highest scores of the whole video are kept; ties go
    to the earliest. So a video in which nothing changes keeps its first frame, and then the second from its
    first token on.

    A budget below one frame's tokens keeps the first ones of the first frame; the released code keeps a whole
    frame then. It lets the text after a video of Qwen2.5-VL start at another position than the stock model
    does; here the stock model's positions stay.
    """

    def choose(self, video: VisualTokens, total: int) -> Tensor:
        changed = change(video.projected[1:], video.projected[:-1])
        scores = functional.pad(changed, (0, 0, 1, 0), value=torch.inf)
        return top_indices(scores.flatten(), total)

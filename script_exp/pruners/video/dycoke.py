"""DyCoke's first stage: one frame of each group whole, and what has changed of the others.

Source: Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models", CVPR 2025,
arXiv 2411.15024, section on token temporal merging (TTM).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import SettingError, check_whole
from script_exp.pruners.arithmetic.apportion import apportion
from script_exp.pruners.arithmetic.over_time import change
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.video_pruner import VideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class DyCoke(VideoPruner):
    """Keep the first frame of each group, and of the others the tokens least like those at the same place.

    Frames are numbered 0, 1, 2, 3 in their group. Frame 0 is whole. An odd frame is compared with the one
    before it, which is 0 or the unpruned 2; an even one with frame 0. Each keeps the tokens with the lowest
    cosine, equally many of every frame; earlier frames get one more where the budget does not divide.

    Nothing is merged, in the released code as here, although the paper's name says so. Its K = 0.7 drops 70 %
    of the tokens of frames 1, 2 and 3, so that 47.5 % of the video remain; here the count follows from the
    budget, which has to leave room for the whole frames: 1 / ``group`` of the tokens. Departures from the
    released code, which are faults of it: it leaves frame 2 of the last group whole, loses the last of an odd
    number of frames, fails below five frames, and puts the kept tokens in the order of their similarity. Here
    frames that fill no group belong to the last one. A video with fewer frames than a group may have no room
    for a whole frame; of its first one, evenly spaced tokens are then kept.

    The second stage, which chooses from the cache at each decoding step, is not built.

    Attributes:
        group: frames of a group.
    """

    group: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("group", self.group, 2)

    def kept_of(self, tokens: int) -> int:
        k = super().kept_of(tokens)
        lowest = 1 / self.group if isinstance(self.budget, float) else -(-tokens // self.group)
        if self.budget < lowest:
            expected = f"at least {lowest:g}, since one of {self.group} frames stays whole, or a larger group"
            raise SettingError("budget", self.budget, expected)
        return k

    def choose(self, video: VisualTokens, total: int) -> Tensor:
        frames, n, _ = video.projected.shape
        last = max(0, frames // self.group - 1) * self.group  # the first frame of the last group
        number = [t % self.group if t < last else t - last for t in range(frames)]
        whole = number.count(0) * n
        if total < whole:
            return torch.arange(total, device=video.projected.device) * n // total
        against = [t - (1 if own % 2 else own) for t, own in enumerate(number)]
        ranked = top_indices(change(video.projected, video.projected[against]), n)
        others = frames - number.count(0)
        share = (total - whole) / others if others else 0
        most = [n if own else 0 for own in number]
        counts = apportion([share if own else 0 for own in number], total - whole, most)
        counts = [count if own else n for count, own in zip(counts, number, strict=True)]
        return torch.cat(
            [t * n + own[:count] for t, (own, count) in enumerate(zip(ranked, counts, strict=True))]
        )

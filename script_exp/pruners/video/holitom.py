"""HoliTom's stage before the LLM: windows chosen so that most is static in them, then a share of every part.

Source: Shao et al., "HoliTom: Holistic Token Merging for Fast Video Large Language Models", NeurIPS 2025,
arXiv 2505.21334, sections on global redundancy-aware temporal merging and spatial merging.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from script_exp.errors import check_number, check_whole
from script_exp.pruners.arithmetic.over_time import likeness
from script_exp.pruners.arithmetic.segments import Segment
from script_exp.pruners.arithmetic.static_parts import Part, clustered, fewer_static, parts_of, reduced
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.video_pruner import MergingVideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class HoliTom(MergingVideoPruner):
    """Average what stays the same over the best windows of frames, then keep the same share of every part.

    1. In a window of frames, place i is static if all cosines of neighboring frames' projected tokens at i
       are above ``tau``. A window is worth (its static places) (its frames - 1), the tokens that averaging
       saves. Dynamic programming divides the video into the windows with the largest sum; of equal ones the
       last window is the shortest, then the one before it.
    2. The static tokens of a window are averaged over its frames, and stand in its first one.
    3. Of all that is left, the share r' remains, so that the total is met. The static tokens of a window
       become the centers of DPC-kNN, each ``own`` times itself plus 1 - ``own`` times the mean of the others
       of its cluster. Of the other tokens of each frame, those with the highest attention in the vision tower
       are kept.

    The released code rounds the counts of windows and rounds up those of frames; here they are divided by
    largest remainders. Where averaging alone leaves less than the budget, its code keeps only that; here the
    places that change most are not averaged then, so that the total is met. Its option to cluster a part of a
    frame's tokens, which is off by default, is not built. Its stage inside the LLM is
    :class:`~script_exp.pruners.inside_llm.holitom_inside.HoliTomInside`. For LLaVA-OneVision the released
    code puts a window's static tokens before the others; here they keep their places, as there for
    LLaVA-Video. A tower with a class token ranks by its attention.

    Attributes:
        tau: cosine above which neighboring frames are the same at a place; released: 0.65 for a budget of
            10 %, 0.8 otherwise.
        neighbors: of DPC-kNN.
        own: weight of a center itself.
    """

    tau: float = 0.8
    neighbors: int = 7
    own: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, lambda v: -1 <= v <= 1, "a cosine in [-1, 1]")
        check_whole("neighbors", self.neighbors, 1)
        check_number("own", self.own, lambda v: 0 <= v <= 1, "a weight in [0, 1]")

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def merged(self, video: VisualTokens, total: int) -> tuple[Tensor, Tensor]:
        alike = likeness(video.projected)
        windows = best_windows(alike > self.tau)
        least = torch.stack([_least(alike, window) for window in windows])
        static = fewer_static(least > self.tau, least, windows, total)
        saliency = video.signals[SALIENCY].flatten()
        return reduced(parts_of(video.projected, windows, static), total, partial(self._reduce, saliency))

    def _reduce(self, saliency: Tensor, part: Part, count: int) -> tuple[Tensor, Tensor]:
        if part.static:
            return clustered(part.tokens, count, self.neighbors, self.own)
        indices = top_indices(saliency[part.places], count)
        return indices, part.tokens[indices]


def _least(alike: Tensor, window: Segment) -> Tensor:
    """Return (n,) how alike the least alike neighboring frames of a window are; -inf for a single frame."""
    begin, end = window
    if end - begin == 1:
        return alike.new_full(alike.shape[1:], -torch.inf)
    return alike[begin : end - 1].amin(dim=0)


def best_windows(same: Tensor) -> list[Segment]:
    """Return the windows of T frames that save most, given which places (T - 1, n) stay as they are."""
    frames = len(same) + 1
    best, begins = [0] * (frames + 1), [0] * (frames + 1)  # of the first t frames, and of their last window
    changed = ~same
    saved = torch.zeros(frames - 1, frames - 1, dtype=torch.long, device=same.device)
    for begin in range(frames - 1):
        static = (changed[begin:].cumsum(dim=0) == 0).sum(dim=1)
        saved[begin, begin:] = static * torch.arange(1, frames - begin, device=same.device)
    worth = saved.tolist()  # waits for the device: the windows decide the shape of all that follows
    for end in range(1, frames + 1):
        best[end], begins[end] = best[end - 1], end - 1
        for begin in range(end - 2, -1, -1):
            value = best[begin] + worth[begin][end - 2]
            if value > best[end]:
                best[end], begins[end] = value, begin
    windows = [(begins[frames], frames)]
    while windows[0][0] > 0:
        windows.insert(0, (begins[windows[0][0]], windows[0][0]))
    return windows

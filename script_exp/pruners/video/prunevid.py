"""PruneVid's stage before the LLM: static tokens averaged over segments, then every part clustered.

Source: Huang et al., "PruneVid: Visual Token Pruning for Efficient Video Large Language Models", findings of
ACL 2025, arXiv 2412.16117, section on spatial-temporal token merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number, check_whole
from script_exp.pruners.arithmetic.segments import Segment, by_clusters, mean_features
from script_exp.pruners.arithmetic.static_parts import Part, clustered, fewer_static, parts_of, reduced
from script_exp.pruners.contract.video_pruner import MergingVideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class PruneVid(MergingVideoPruner):
    """Average what stays the same over segments of alike frames, then cluster what is left of every part.

    1. DPC-kNN puts the means of the frames' projected tokens into max(1, floor(``segments`` T)) clusters. A
       segment begins where the longest run of a cluster begins (the first of equally long ones); other
       frames belong to the segment before.
    2. In a segment of w frames, place i is static if the mean cosine of its tokens over all pairs of frames
       is above ``tau``. Static tokens are averaged over the frames, and stand in the first one. A segment of
       one frame has none; the released code divides by zero there.
    3. The static tokens of each segment, and the other tokens of each frame, are clustered by DPC-kNN. The
       mean of a cluster stands in the place of its center.

    The released share of step 3 is 0.5, for parts of more than 14 tokens; here it follows from the budget, is
    the same for all parts, and the counts are divided by largest remainders. Where averaging alone leaves
    less than the budget, the places that change most are not averaged, so that the total is met. The released
    code puts the static tokens of a segment before the others; here all keep their places. Its stage inside
    the LLM is :class:`~script_exp.pruners.inside_llm.prunevid_inside.PruneVidInside`.

    Attributes:
        segments: clusters of frames, as a share of the frames.
        tau: mean cosine above which a place is static.
        neighbors: of DPC-kNN.
    """

    segments: float = 0.25
    tau: float = 0.8
    neighbors: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("segments", self.segments, lambda v: 0 < v <= 1, "a share of the frames in (0, 1]")
        check_number("tau", self.tau, lambda v: -1 <= v <= 1, "a cosine in [-1, 1]")
        check_whole("neighbors", self.neighbors, 1)

    def merged(self, video: VisualTokens, total: int) -> tuple[Tensor, Tensor]:
        segments, static = self._divided(video.projected, total)
        return reduced(parts_of(video.projected, segments, static), total, self._reduce)

    def parts(self, visual: VisualTokens, places: Tensor) -> Tensor:
        """Return the frame t of each token, or T + s if it is static in segment s."""
        tokens = visual.projected.float()
        frames, n, _ = tokens.shape
        segments, static = self._divided(tokens, self.total_of(frames, n))
        lengths = torch.tensor([end - begin for begin, end in segments], device=tokens.device)
        segment = torch.arange(len(segments), device=tokens.device).repeat_interleave(
            lengths, output_size=frames
        )
        frame, own = places // n, segment[places // n]
        return torch.where(static[own, places % n], frames + own, frame)

    def _divided(self, tokens: Tensor, total: int) -> tuple[list[Segment], Tensor]:
        """Return the segments of a video (T, n, d), and which places are static in each."""
        clusters = max(1, int(self.segments * len(tokens)))
        segments = by_clusters(mean_features(tokens), clusters, self.neighbors)
        alike = torch.stack([mean_cosine(tokens[begin:end]) for begin, end in segments])
        return segments, fewer_static(alike > self.tau, alike, segments, total)

    def _reduce(self, part: Part, count: int) -> tuple[Tensor, Tensor]:
        return clustered(part.tokens, count, self.neighbors, own=None)


def mean_cosine(tokens: Tensor) -> Tensor:
    """Return (n,) the mean cosine of tokens (w, n, d) over all pairs of frames; -1 for one frame."""
    frames, n, _ = tokens.shape
    if frames == 1:
        return tokens.new_full((n,), -1.0)
    unit = functional.normalize(tokens, dim=-1)
    # 1 - cos is half a squared distance; from the first frame on, so that what repeats is exactly alike
    moved = unit - unit[0]
    distances = frames * moved.square().sum(dim=(0, 2)) - moved.sum(dim=0).square().sum(dim=-1)
    return 1 - distances / (frames * (frames - 1))

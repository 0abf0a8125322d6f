"""FastVID: segments of a video, salient tokens of every frame, and the others merged over their segment.

Source: Shen et al., "FastVID: Dynamic Density Pruning for Fast Video Large Language Models", NeurIPS 2025,
arXiv 2503.11187, sections on dynamic temporal segmentation and density spatiotemporal pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number, check_whole
from script_exp.pruners.arithmetic.apportion import apportion
from script_exp.pruners.arithmetic.dpc_knn import dpc_knn
from script_exp.pruners.arithmetic.over_time import likeness
from script_exp.pruners.arithmetic.segments import Segment, by_cuts, mean_features
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.video_pruner import MergingVideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens


@dataclass(kw_only=True)
class FastVID(MergingVideoPruner):
    """Keep salient tokens of each frame, and merge the rest of a segment into dense tokens of a few frames.

    1. Frames have f_t, the mean of the projected tokens, normalized. The video is cut at its
       ``segments`` - 1 lowest cosines of neighboring f and wherever the cosine is below ``tau``, but nowhere
       above ``highest``.
    2. The budget is divided evenly among frames. Of a frame's b tokens, b - floor(``context`` b) are salient:
       those with the highest attention in the vision tower.
    3. The other floor(``context`` b) of all frames of a segment are spent evenly on its ``every``-th frames,
       counted from its last one. In each of these, the centers of DPC-kNN among the tokens that are not
       salient are targets.
    4. Every other token of the segment joins the most similar target (cosine), which becomes
       w target + (1 - w) mean of those that joined, w = max(``beta``, 1 / (their number + 1)).

    For LLaVA the released code takes f from the attention-pooling head of SigLIP, with tau = 0.9 and no limit
    ``highest``, and the head's attention as saliency. Checkpoints in transformers' layout have no such head.
    So f is the mean of tokens and the saliency the attention that a patch receives, for all models, as the
    released code has it for Qwen2.5-VL, whose thresholds are the defaults. What the chosen frames of a
    segment cannot hold goes to its other frames. Positions are the model's setting; released: preserved.

    Attributes:
        segments: the fewest segments, unless frames are alike.
        tau: cosine below which the video is always cut.
        highest: cosine above which it is never cut.
        context: share of the budget for merged tokens.
        every: distance of the frames that have targets.
        neighbors: of DPC-kNN.
        beta: the least weight of a target itself.
    """

    segments: int = 8
    tau: float = 0.84
    highest: float = 0.95
    context: float = 0.4
    every: int = 4
    neighbors: int = 4
    beta: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("segments", "every", "neighbors"):
            check_whole(key, getattr(self, key), 1)
        for key in ("tau", "highest"):
            check_number(key, getattr(self, key), lambda v: -1 <= v <= 1, "a cosine in [-1, 1]")
        for key in ("context", "beta"):
            check_number(key, getattr(self, key), lambda v: 0 <= v <= 1, "a share in [0, 1]")

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def merged(self, video: VisualTokens, total: int) -> tuple[Tensor, Tensor]:
        frames, n, _ = video.projected.shape
        alike = likeness(mean_features(video.projected)).tolist()  # waits for the device: cuts make shapes
        budgets = apportion([total / frames] * frames, total, [n] * frames)
        ranked = top_indices(video.signals[SALIENCY], n)
        parts = by_cuts(alike, self.segments, self.tau, self.highest)
        made = [self._of_segment(video.projected, ranked, budgets, part) for part in parts]
        return torch.cat([places for places, _ in made]), torch.cat([tokens for _, tokens in made])

    def _of_segment(
        self, tokens: Tensor, ranked: Tensor, budgets: list[int], segment: Segment
    ) -> tuple[Tensor, Tensor]:
        """Return the places and the tokens that remain of a segment."""
        (begin, end), n = segment, tokens.shape[1]
        flat = tokens[begin:end].flatten(0, 1)
        context = [int(self.context * budget) for budget in budgets[begin:end]]
        salient = [budget - own for budget, own in zip(budgets[begin:end], context, strict=True)]
        chosen = set(range(end - begin - 1, -1, -self.every))
        share = sum(context) / len(chosen)
        shares = [share if t in chosen else 0 for t in range(end - begin)]
        counts = apportion(shares, sum(context), [n - own for own in salient])
        kept, targets = [], []
        for t, (own, count) in enumerate(zip(salient, counts, strict=True)):
            kept.append(t * n + ranked[begin + t, :own])
            if count:
                rest = t * n + ranked[begin + t, own:].sort().values
                targets.append(rest[dpc_knn(flat[rest], count, self.neighbors)[0]])
        places, stay = torch.cat([*kept, *targets]), flat[torch.cat(kept)]
        if not targets:
            return begin * n + places, stay
        left = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
        left[places] = False
        guests = top_indices(left, len(flat) - len(places))
        merged = self._with_guests(flat[torch.cat(targets)], flat[guests])
        return begin * n + places, torch.cat([stay, merged])

    def _with_guests(self, hosts: Tensor, guests: Tensor) -> Tensor:
        """Return the targets (h, d) after each of the tokens (g, d) has joined one."""
        similarity = functional.normalize(guests, dim=-1) @ functional.normalize(hosts, dim=-1).T
        numbers = torch.arange(len(hosts), device=hosts.device)[:, None]
        members = (similarity.argmax(dim=-1) == numbers).float()
        count = members.sum(dim=-1, keepdim=True)
        weight = (1 / (count + 1)).clamp(min=self.beta)
        return weight * hosts + (1 - weight) * (members @ guests) / count.clamp(min=1)

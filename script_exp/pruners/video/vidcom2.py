"""VidCom2: a share of the budget for every frame, then the tokens that are unlike their frame and the video.

Source: Liu et al., "Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large
Language Models", EMNLP 2025, arXiv 2505.14454, sections on the budgets of frames and on the choice of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.apportion import apportion
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.video_pruner import VideoPruner
from script_exp.pruners.contract.visual_tokens import VisualTokens

_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1, 2)


@dataclass(kw_only=True)
class VidCom2(VideoPruner):
    """Give frames that are unlike the video more of the budget, and keep the least typical tokens of each.

    Of the projected tokens, the share ``channels`` of the d channels that varies least over all tokens is
    compared: x_{t,i}, normalized. With g(x, c) = sum over a in {1/8, 1/4, 1/2, 1, 2} of
    exp(-||x - c||^2 / (2 a)):

        V_{t,i} = g(x_{t,i}, mean of all x),   F_{t,i} = g(x_{t,i}, mean of the x of frame t),
        p = softmax over t of (-mean_i V_{t,i} / temperature),
        frame t's share = R (1 + p_t - mean p), at most 1,   R = total / (T n).

    Of each frame, the tokens with the lowest V + F are kept. The released counts are rounded one by one, so
    that they miss the total; here they meet it: by largest remainders, with at least one token per frame as
    released, and what a full frame cannot hold goes to the others.

    The temperature is sharp: where the frames' means of V differ by some hundredths, one frame has nearly all
    of p, and so about twice the tokens of the others. For LLaVA-Video the released code keeps all separators
    after the frame's tokens; here the model's setting decides about them, and they keep their places.

    Attributes:
        channels: share of the channels that is compared.
        temperature: of the softmax over frames.
    """

    channels: float = 0.5
    temperature: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("channels", self.channels, lambda v: 0 < v <= 1, "a share of the channels in (0, 1]")
        check_number(
            "temperature", self.temperature, lambda v: 0.0001 <= v <= 100, "a number in [0.0001, 100]"
        )

    def choose(self, video: VisualTokens, total: int) -> Tensor:
        frames, n, d = video.projected.shape
        variance = video.projected.flatten(0, 1).var(dim=0, correction=0)
        steady = variance.sort(stable=True).indices[: max(1, int(self.channels * d))]
        x = functional.normalize(video.projected[..., steady], dim=-1)
        of_video = _typical(x, x.mean(dim=(0, 1)))
        of_frame = _typical(x, x.mean(dim=1, keepdim=True))
        weights = (-of_video.mean(dim=1) / self.temperature).softmax(dim=0)
        shares = total / frames * (1 + weights - 1 / frames)
        # Waits for the device: how many tokens a frame keeps is a shape.
        counts = apportion(shares.tolist(), total, [n] * frames, least=int(total >= frames))
        ranked = top_indices(-(of_video + of_frame), n)
        return torch.cat(
            [t * n + own[:count] for t, (own, count) in enumerate(zip(ranked, counts, strict=True))]
        )


def _typical(x: Tensor, center: Tensor) -> Tensor:
    """Return g (T, n) of tokens (T, n, w) and a center that broadcasts to them."""
    distance = (x - center).square().sum(dim=-1)
    return torch.stack([(-distance / (2 * width)).exp() for width in _WIDTHS]).sum(dim=0)

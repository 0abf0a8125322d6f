"""Qwen3-VL and Qwen3.5 on videos: each pair of frames in a start and an end, behind its time in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from script_exp.models.families.adapter import Visual
from script_exp.models.families.qwen2_5_vl_tower import END, START
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.families.qwen3_vl_tower import Qwen3VLTower
from script_exp.models.families.video import videos_of


class TimedVideoAdapter(Qwen25VLVideoAdapter):
    """What Qwen3-VL and Qwen3.5 share on videos.

    Times are words of the prompt here, not positions: "<1.2 seconds>" is the middle of a pair's two frames.
    The template writes start, placeholder and end for a video, and all three give way to the pairs. (5.23's
    processor replaces the placeholder alone and leaves a second start and end.) Frame sizes follow
    Qwen2.5-VL's limits in tokens.
    """

    adds_words = True
    image_words = r"<\d+\.\d seconds>"
    inputs = ("pixel_values_videos", "video_grid_thw", "pair_seconds")
    on_host = ("pair_seconds",)

    @classmethod
    def mark_of(cls, tokenizer: Any, config: Any) -> str:
        return cls.template_text(tokenizer, config)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return the patches of all videos, their grids (t, h, w), and the time of each pair in seconds."""
        processed = super().process(image_processor, visuals)
        if not processed:
            return {}
        pair = int(self.model.config.vision_config.temporal_patch_size)
        times = []
        for video, seconds in zip(videos_of(visuals), processed.pop("second_per_grid_ts"), strict=True):
            frames = [*range(len(video)), *[len(video) - 1] * (-len(video) % pair)]  # the last one fills up
            firsts, lasts = torch.tensor(frames).view(-1, pair)[:, [0, -1]].unbind(dim=1)
            times.append((firsts + lasts) / 2 * seconds / pair)
        return processed | {"pair_seconds": torch.cat(times)}

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        steps = inputs["video_grid_thw"][:, 0].tolist()
        times = torch.split(inputs["pair_seconds"], steps)
        texts = []
        for own, length in zip(times, self.lengths(inputs), strict=True):
            frame = f"{START}{placeholder * (length // len(own))}{END}"
            texts.append("".join(f"<{float(time):.1f} seconds>{frame}" for time in own))
        return texts


class Qwen3VLVideoAdapter(Qwen3VLTower, TimedVideoAdapter):
    """``Qwen3VLForConditionalGeneration`` and its MoE, videos only."""

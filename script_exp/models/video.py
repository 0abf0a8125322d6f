"""What the adapters for videos share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.errors import UserError
from script_exp.models.images import ModelAdapter, Visual


class VideoAdapter(ModelAdapter):
    """A family on videos whose frames are its crops; the budget is per frame."""

    modality = "video"
    inputs = ("pixel_values_videos",)

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        return int(config.video_token_id)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Pixels (videos, frames, channels, height, width); the videos have equally many frames."""
        videos = videos_of(visuals)
        counts = {len(video) for video in videos}
        if len(counts) > 1:
            raise UserError(
                f"the videos of one batch have {sorted(counts)} frames: expected equally many in one tensor"
            )
        frames = [image_processor(list(video), return_tensors="pt")["pixel_values"] for video in videos]
        return {"pixel_values_videos": torch.stack(frames)} if frames else {}

    def encoder_outputs(self, features: list[Tensor]) -> dict[str, Any]:
        # One tensor, as the model's own, where the lengths permit it: beams do not repeat a list.
        equal = len({len(video) for video in features}) == 1
        videos = torch.stack(features) if equal else torch.cat(features)[None]
        return {"mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=videos)}}


def videos_of(visuals: Sequence[Sequence[Visual]]) -> list[Sequence[Image.Image]]:
    """The videos of all rows in order.

    Raises:
        UserError: if one of them is an image.
    """
    videos: list[Sequence[Image.Image]] = []
    for visual in (visual for row in visuals for visual in row):
        if isinstance(visual, Image.Image):
            raise UserError("the model takes videos here: expected a list of frames, got a single image")
        videos.append(visual)
    return videos

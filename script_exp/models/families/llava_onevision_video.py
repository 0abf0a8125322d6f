"""LLaVA-OneVision on videos: frames of one crop each, 2 x 2 patches pooled after the projector."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import SiglipImageProcessorPil

from script_exp.models.families.adapter import SEPARATOR, EncodedImage, square_grid
from script_exp.models.families.llava_tower import LlavaTower, square_processor
from script_exp.models.families.tower_read import SIGLIP, check_tower
from script_exp.models.families.video import VideoAdapter, video_settings
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_signals import by_image, per_token
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

_FRAME_SETTINGS = (
    "do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "do_convert_rgb",
)  # fmt: skip


class LlavaOnevisionVideoAdapter(LlavaTower, VideoAdapter):
    """``LlavaOnevisionForConditionalGeneration``, videos only.

    A pruner sees the pooled tokens, for which there is no projector. One newline token ends a video.
    """

    has_separators = True
    has_projector = False
    default_rules = PruningRules(relevance_sign=1)
    frames = 32  # as published

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_tower(config, SIGLIP)

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return math.ceil(math.isqrt(super().tokens_per_crop(config)) / 2) ** 2

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load a processor for single frames that matches the video processor, which needs torchvision.

        Settings that the video config lacks are those for images.
        """
        settings = {key: value for key, value in video_settings(folder).items() if key in _FRAME_SETTINGS}
        return SiglipImageProcessorPil.from_pretrained(folder, local_files_only=True, **settings)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return square_processor(SiglipImageProcessorPil, config.vision_config)

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        return [length + 1 for length in super().lengths(inputs)]  # the newline behind all frames

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        pixels = inputs["pixel_values_videos"]
        with self.reading(signals) as found:
            output: Any = self.model.model.get_video_features(pixels, return_dict=True)
        frames = pixels.shape[1]
        pooled = {
            signal: per_token(self.model.model.apply_pooling, values) for signal, values in found.items()
        }
        videos = []
        for packed, own in zip(output.pooler_output, by_image(pooled, [frames] * len(pixels)), strict=True):
            projected = packed[:-1].unflatten(0, (frames, -1))
            joint = None if encoder is None else encoder.embed_patches(None, projected)
            source = torch.arange(len(packed), device=packed.device)
            source[-1] = SEPARATOR
            grid = square_grid(projected.shape[1])
            tokens = VisualTokens(projected, joint, signals=own, grid=grid, frames=1)
            videos.append(EncodedImage(tokens, packed, source, frames, frames))
        return videos

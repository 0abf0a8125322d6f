"""LLaVA-NeXT-Video: every frame is a crop, its patches pooled before the projector."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage, projector_seen, square_grid
from script_exp.models.families.llava_tower import LlavaTower, square_processor
from script_exp.models.families.tower_read import CLIP, check_tower
from script_exp.models.families.video import VideoAdapter
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image, per_token
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens


class LlavaNextVideoAdapter(LlavaTower, VideoAdapter):
    """``LlavaNextVideoForConditionalGeneration``, videos only.

    The budget is per frame. A pooled patch is embedded in the query encoder's space from the model's own mean
    of its features; normalization follows the pooling.
    """

    frames = 32  # "sampled uniformly to be 32 frames per clip": model card of llava-hf/LLaVA-NeXT-Video-7B-hf
    lmms_name = "llava_vid"

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_tower(config, CLIP)
        if config.spatial_pool_mode not in ("average", "max"):
            raise SettingError("spatial_pool_mode", config.spatial_pool_mode, "average or max")

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return int(math.isqrt(super().tokens_per_crop(config)) // config.spatial_pool_stride) ** 2

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        frames = patches // cls.tower_shape(config).crop_patches
        return super().projector_operations(config, frames * cls.tokens_per_crop(config))

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load a processor for single frames that matches the video processor, which needs torchvision."""
        return CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return square_processor(CLIPImageProcessorPil, config.vision_config)

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core, pixels = self.model.model, inputs["pixel_values_videos"]
        with projector_seen(core.multi_modal_projector) as seen, self.reading(signals) as found:
            core.get_video_features(pixels, return_dict=True)
        tower, projected = seen["tower"], seen["projected"]
        joint = None if encoder is None else encoder.embed_patches(tower, projected)
        frames = pixels.shape[1]
        joints = [None] * len(pixels) if joint is None else torch.split(joint, frames)
        source = torch.arange(frames * projected.shape[1], device=projected.device)
        pooled = {
            signal: values if signal.kind == "class_token" else per_token(core.vision_resampler, values)
            for signal, values in found.items()
        }
        grid = square_grid(projected.shape[1])
        return [
            EncodedImage(
                VisualTokens(
                    video, own_joint, own_tower, core.multi_modal_projector, signals=own, grid=grid, frames=1
                ),
                video.flatten(0, 1),
                source,
                frames,
                frames,
            )
            for video, own_joint, own_tower, own in zip(
                torch.split(projected, frames),
                joints,
                torch.split(tower, frames),
                by_image(pooled, [frames] * len(pixels)),
                strict=True,
            )
        ]

"""LLaVA-1.5 on videos without training for it: each frame is a picture of its own, its patches pooled."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage, projector_seen, square_grid
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.llava_tower import LlavaTower
from script_exp.models.families.video import VideoAdapter
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image, per_token
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

POOLED = 3
"""Patches along one side of a bin: 24 x 24 patches become 8 x 8 tokens. So 8 frames of the embedded model
are 512 tokens, and its LLM was trained with up to 576."""


class LlavaVideoAdapter(LlavaTower, VideoAdapter):
    """``LlavaForConditionalGeneration``, videos only; choose it with ``model.adapter``.

    The LLM reads the frames' tokens in order where a picture's tokens would be. It was trained on single
    pictures, so its accuracy on videos is what carries over.

    The mean of 3 x 3 projected tokens enters the LLM; pooled tokens have no projector. Embeddings in the
    query encoder's space are those of the mean tower features. Signals of the tower are averaged likewise.
    """

    has_projector = False
    frames = 8

    @classmethod
    def check_config(cls, config: Any) -> None:
        LlavaAdapter.check_config(config)
        side = math.isqrt(super().tokens_per_crop(config))
        if side % POOLED:
            raise SettingError("patches along one side of a picture", side, f"a multiple of {POOLED}")

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        return LlavaAdapter.placeholder_of(config)

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return super().tokens_per_crop(config) // POOLED**2

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        return LlavaAdapter.load_image_processor(folder)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return LlavaAdapter.random_image_processor(config)

    @property
    def content_type(self) -> str:
        return "image"  # its chat template knows no videos

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core, pixels = self.model.model, inputs["pixel_values_videos"]
        frames = pixels.shape[1]
        with projector_seen(core.multi_modal_projector) as seen, self.reading(signals) as found:
            core.get_image_features(pixels.flatten(0, 1), return_dict=True)
        projected, tower = pooled(seen["projected"]), pooled(seen["tower"])
        joint = None if encoder is None else encoder.embed_patches(tower, projected)
        joints = [None] * len(pixels) if joint is None else torch.split(joint, frames)
        means = {
            signal: values if signal.kind == "class_token" else per_token(pooled, values)
            for signal, values in found.items()
        }
        grid, source = square_grid(projected.shape[1]), torch.arange(frames * projected.shape[1])
        return [
            EncodedImage(
                VisualTokens(video, own_joint, signals=own, grid=grid, frames=1),
                video.flatten(0, 1),
                source.to(video.device),
                frames,
                frames,
            )
            for video, own_joint, own in zip(
                torch.split(projected, frames), joints, by_image(means, [frames] * len(pixels)), strict=True
            )
        ]

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}


def pooled(tokens: Tensor) -> Tensor:
    """Return the means (frames, n / 9, d) of 3 x 3 tokens of square frames (frames, n, d)."""
    side = math.isqrt(tokens.shape[1])
    picture = tokens.mT.reshape(len(tokens), -1, side, side)
    return functional.avg_pool2d(picture, POOLED).flatten(2).mT

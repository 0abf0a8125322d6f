"""GLM-4.1V: native resolution, full attention in the tower, 2 x 2 patch merger, M-RoPE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Glm4vImageProcessorPil
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.benchmarks.reading.frame_count import PerSecond
from script_exp.models.families.adapter import ModelAdapter, Visual
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.qwen2_5_vl_tower import patch_processor
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.tower_shape import TowerShape

_START, _END = "<|begin_of_image|>", "<|end_of_image|>"
_FEWEST, _MOST = 112 * 112, 28 * 28 * 2 * 30000
"""Pixels of all frames of a video together, as published (``size`` of the video processor)."""


class Glm4vTower(ModelAdapter):
    """What images and videos share in GLM-4.1V.

    The MLP of a tower layer is as wide as ``out_hidden_size``, and ``intermediate_size`` is the width inside
    the merger.
    """

    @classmethod
    def words_of(cls, config: Any) -> Mapping[str, int]:
        return {}

    @classmethod
    def template_text(cls, tokenizer: Any, config: Any) -> str:
        return cls.mark_of(tokenizer, config)

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return TowerShape(vision.hidden_size, vision.out_hidden_size, vision.depth, patch, gated=True)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count the convolution over 2 x 2 patches, and the merger: a layer and a gated MLP."""
        vision = config.vision_config
        tokens, width = patches // vision.spatial_merge_size**2, vision.out_hidden_size
        convolution = 2 * patches * vision.hidden_size * width
        return int(convolution + 2 * tokens * (width * width + 3 * width * vision.intermediate_size))

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return patch_processor(
            Glm4vImageProcessorPil,
            config.vision_config,
            size={"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15000},  # pixels, as published
            image_mean=OPENAI_CLIP_MEAN,
            image_std=OPENAI_CLIP_STD,
        )


class Glm4vVideoAdapter(Glm4vTower, Qwen25VLVideoAdapter):
    """``Glm4vForConditionalGeneration``, videos only.

    Their tokens have the placeholder of images. Each pair of frames stands between the words that surround
    an image, and the whole second of its first frame behind it; they take the place of the template's
    ``<|video|>``. Of videos longer than 300 seconds, 600 frames are taken.
    """

    adds_words = True
    image_words = rf"{re.escape(_START + _END)}\d+"
    inputs = ("pixel_values_videos", "video_grid_thw", "pair_seconds")
    on_host = ("pair_seconds",)
    frames = PerSecond(fps=2.0, max_frames=600)

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        return int(config.image_token_id)

    @classmethod
    def mark_of(cls, tokenizer: Any, config: Any) -> str:
        return str(tokenizer.convert_ids_to_tokens(config.video_token_id))

    @staticmethod
    def frame_limits(count: int, token: int, pair: int) -> tuple[int, int]:
        """Share the limits of all frames; the image processor counts a picture as ``pair`` frames."""
        filled = count + -count % pair
        return _FEWEST * pair // filled, _MOST * pair // filled

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return the patches of all videos, their grids (t, h, w), and when each pair begins, in seconds."""
        processed = super().process(image_processor, visuals)
        if not processed:
            return {}
        steps, each = processed["video_grid_thw"][:, 0].tolist(), processed.pop("second_per_grid_ts")
        times = [torch.arange(count) * seconds for count, seconds in zip(steps, each, strict=True)]
        return processed | {"pair_seconds": torch.cat(times)}

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        times = torch.split(inputs["pair_seconds"], inputs["video_grid_thw"][:, 0].tolist())
        texts = []
        for own, length in zip(times, self.lengths(inputs), strict=True):
            frame = f"{_START}{placeholder * (length // len(own))}{_END}"
            texts.append("".join(f"{frame}{int(time)}" for time in own))
        return texts

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        """Pass videos as images, whose placeholder they have.

        For videos, transformers 5.23's beam search counts ``video_token_id``, which no prompt has, and fails.
        """
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}


class Glm4vAdapter(Glm4vTower, Qwen25VLAdapter):
    """``Glm4vForConditionalGeneration`` on images.

    Its layout is that of Qwen2-VL. In the LLM, neighboring places of a head turn together, and half of the
    head does not turn.
    """

    video = Glm4vVideoAdapter

"""GLM-4.1V: native resolution, full attention in the tower, 2 x 2 patch merger, M-RoPE."""

from __future__ import annotations

from typing import Any

from transformers import Glm4vImageProcessorPil

from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.tower_shape import TowerShape


class Glm4vAdapter(Qwen25VLAdapter):
    """``Glm4vForConditionalGeneration`` on images.

    Its layout is that of Qwen2-VL. The MLP of a tower layer is as wide as ``out_hidden_size``, and
    ``intermediate_size`` is the width inside the merger. In the LLM, neighboring places of a head turn
    together, and half of the head does not turn. Videos are not supported: their tokens have the placeholder
    of images, and the time of each pair of frames is a word.
    """

    video = None

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
        vision = config.vision_config
        return Glm4vImageProcessorPil(
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
            size={"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15000},  # pixels, as published
            image_mean=[0.48145466, 0.4578275, 0.40821073],
            image_std=[0.26862954, 0.26130258, 0.27577711],
        )

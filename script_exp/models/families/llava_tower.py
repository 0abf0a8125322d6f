"""What all LLaVAs share: CLIP's or SigLIP's tower, a projector of two layers, pictures made square."""

from __future__ import annotations

from typing import Any

from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.tower_read import CLIP, SIGLIP
from script_exp.models.tower_shape import TowerShape


class LlavaTower(ModelAdapter):
    """The tower and the projector of a LLaVA, on images or videos."""

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return cls.tower_shape(config).crop_patches

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        return TowerShape.of_square(vision, has_class=vision.model_type == CLIP)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count two layers; what several layers of the tower give enters side by side."""
        read, d = config.vision_feature_layer, config.text_config.hidden_size
        v = config.vision_config.hidden_size * (1 if isinstance(read, int) else len(read))
        return int(2 * patches * (v * d + d * d))


def square_processor(kind: Any, vision: Any, **settings: Any) -> Any:
    """Build an image processor for a tower of CLIP or SigLIP, as their released checkpoints have it.

    Args:
        kind: class of the processor.
        vision: config of the tower.
        settings: what the processor takes besides.
    """
    side, siglip = vision.image_size, vision.model_type == SIGLIP
    square = {"height": side, "width": side}
    return kind(
        image_mean=IMAGENET_STANDARD_MEAN if siglip else OPENAI_CLIP_MEAN,
        image_std=IMAGENET_STANDARD_STD if siglip else OPENAI_CLIP_STD,
        **({"size": square} if siglip else {"size": {"shortest_edge": side}, "crop_size": square}),
        **settings,
    )

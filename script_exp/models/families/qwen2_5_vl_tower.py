"""The tower of Qwen2.5-VL, its operations and its processor, and what images and videos share besides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from transformers import Qwen2VLImageProcessorPil
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from script_exp.errors import SettingError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.smaller import frames_of
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.models.window_signals import check_signals, merged_grid
from script_exp.pruners.contract.signals import Signal

START, END = "<|vision_start|>", "<|vision_end|>"


class Qwen25VLTower(ModelAdapter):
    """What images and videos share in Qwen2.5-VL and in the families of its layout."""

    variable_size = True
    has_projector = False
    counts_positions = False
    default_rules = PruningRules(relevance_sign=1, positions="preserved")

    @classmethod
    def check_rules(cls, rules: PruningRules) -> None:
        if rules.positions != "preserved":
            where = "video" if cls.modality == "video" else "picture"
            raise SettingError(
                "positions", rules.positions, f"preserved: positions of this family are places in the {where}"
            )

    @classmethod
    def check_signals(cls, signals: Collection[Signal], config: Any) -> None:
        check_signals(signals, config)

    @classmethod
    def words_of(cls, config: Any) -> Mapping[str, int]:
        return {
            "<|image_pad|>": config.image_token_id,
            "<|video_pad|>": config.video_token_id,
            START: config.vision_start_token_id,
            END: config.vision_end_token_id,
        }

    @classmethod
    def template_text(cls, tokenizer: Any, config: Any) -> str:
        return f"{START}{tokenizer.convert_ids_to_tokens(cls.placeholder_of(config))}{END}"

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int | None:
        return None

    def deep_of(self, output: Any, index: int) -> Tensor | None:
        """Return :attr:`EncodedImage.deep` of one entry of the tower's output; None without DeepStack."""
        return None

    def token_grid(self, processed: dict[str, Tensor]) -> tuple[int, int]:
        (grid,) = processed[self.inputs[1]].tolist()
        return merged_grid(grid, self.model.config.vision_config)

    def pictures(self, image_processor: Any, processed: dict[str, Tensor]) -> np.ndarray:
        """Put the patches together; of a video, the first frame of each time step."""
        name, (grid,) = self.inputs[0], processed[self.inputs[1]].tolist()
        frames = frames_of(processed[name], grid, self.model.config.vision_config)[:, 0]
        return super().pictures(image_processor, {name: frames})

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        """Attention spans windows in all layers but ``fullatt_block_indexes``."""
        vision = config.vision_config
        merge = vision.spatial_merge_size
        return TowerShape(
            vision.hidden_size,
            vision.intermediate_size,
            vision.depth,
            vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            gated=True,
            windowed=vision.depth - len(set(vision.fullatt_block_indexes) & set(range(vision.depth))),
            window=vision.window_size // merge // vision.patch_size * merge,
        )

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count the patch merger: two layers on every square of ``spatial_merge_size`` ** 2 patches."""
        group, d = config.vision_config.spatial_merge_size**2, config.text_config.hidden_size
        width = cls.tower_shape(config).width * group
        return int(2 * (patches // group) * (width * width + width * d))

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return patch_processor(
            Qwen2VLImageProcessorPil,
            config.vision_config,
            min_pixels=56 * 56,  # as published
            max_pixels=16384 * 28 * 28,
            image_mean=OPENAI_CLIP_MEAN,
            image_std=OPENAI_CLIP_STD,
        )


def patch_processor(kind: Any, vision: Any, **settings: Any) -> Any:
    """Build an image processor that makes the patches of a tower for pictures of any size.

    Args:
        kind: class of the processor.
        vision: config of the tower.
        settings: what the processor takes besides.
    """
    return kind(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        **settings,
    )

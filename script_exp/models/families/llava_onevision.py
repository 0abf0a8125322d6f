"""LLaVA-OneVision: SigLIP tower without CLS, any grid of crops, scaled down if it gets too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaOnevisionImageProcessorPil

from script_exp.models.families.adapter import SEPARATOR, EncodedImage, Visual
from script_exp.models.families.llava_next import LlavaNextAdapter
from script_exp.models.families.llava_onevision_video import LlavaOnevisionVideoAdapter
from script_exp.models.families.llava_tower import square_processor
from script_exp.models.families.tower_read import SIGLIP, check_tower
from script_exp.models.rules import PruningRules
from script_exp.models.tower_signals import per_token
from script_exp.pruners.contract.visual_tokens import VisualTokens


class LlavaOnevisionAdapter(LlavaNextAdapter):
    """``LlavaOnevisionForConditionalGeneration`` on images.

    A picture whose crops hold more tokens than ``anyres_max_9`` allows is scaled down bilinearly after the
    projector. Its tokens then no longer belong to single crops. They are pruned as one crop, with the budget
    of as many crops as they fill.
    """

    variable_size = True
    has_projector = False  # a scaled-down picture has none
    inputs = ("pixel_values", "image_sizes", "batch_num_images")
    on_host = ("image_sizes", "batch_num_images")
    default_rules = PruningRules(relevance_sign=1)
    video = LlavaOnevisionVideoAdapter

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_tower(config, SIGLIP)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        grids = config.image_grid_pinpoints
        kind = LlavaOnevisionImageProcessorPil
        return square_processor(kind, config.vision_config, image_grid_pinpoints=grids)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Process images by row: the model splits an image into crops only if it is alone in its row."""
        rows = [list(row) for row in visuals if row]
        return dict(image_processor(rows, return_tensors="pt")) if rows else {}

    def _crops(self, inputs: dict[str, Tensor]) -> list[int]:
        if "batch_num_images" not in inputs:
            return super()._crops(inputs)
        alone = [count == 1 for count in inputs["batch_num_images"].tolist() for _ in range(count)]
        return [crops if one else 1 for crops, one in zip(super()._crops(inputs), alone, strict=True)]

    def _image(self, visual: VisualTokens, size: Tensor, packed: Tensor) -> EncodedImage:
        try:
            return super()._image(visual, size, packed)
        except NotImplementedError:  # scaled down: bilinear interpolation has no kernel for integers
            return self._mixed(visual, size, packed)

    def _mixed(self, visual: VisualTokens, size: Tensor, packed: Tensor) -> EncodedImage:
        crops, patches, _ = visual.projected.shape
        newline = self._pack(visual.projected.new_zeros(crops, patches, 1), size, torch.ones(1))[:, 0] == 1

        def scaled(values: Tensor) -> Tensor:
            """Scale values (crops, patches, width) as the model scales the tokens: (1, length, width)."""
            return self._pack(values, size, values.new_zeros(values.shape[-1]))[~newline][None]

        joint = None if visual.joint is None else scaled(visual.joint)
        signals = {signal: per_token(scaled, values) for signal, values in visual.signals.items()}
        source = torch.where(newline, SEPARATOR, (~newline).cumsum(0) - 1)
        filled = -(-int((~newline).sum()) // patches)
        tokens = VisualTokens(packed[~newline][None], joint, signals=signals)
        return EncodedImage(tokens, packed, source, crops, filled)

    def _pack(self, features: Tensor, size: Tensor, newline: Tensor) -> Tensor:
        packed: Any = self.model.model.pack_image_features(
            [features],
            size[None],
            image_newline=newline,
            vision_aspect_ratio=self.model.config.vision_aspect_ratio,
        )
        return packed[0][0]  # type: ignore[no-any-return]

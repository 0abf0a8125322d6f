"""LLaVA-NeXT (1.6): a base crop and up to four more (anyres), padding cut off, a newline token per row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
)

from script_exp.models.families.adapter import (
    SEPARATOR,
    EncodedImage,
    projector_seen,
    square_grid,
)
from script_exp.models.families.llava_tower import LlavaTower, square_processor
from script_exp.models.families.smaller import encode_smaller_crops
from script_exp.models.families.tower_read import CLIP, check_tower
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens


class LlavaNextAdapter(LlavaTower):
    """``LlavaNextForConditionalGeneration``."""

    has_separators = True
    shrinks = True
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")
    on_host: ClassVar[tuple[str, ...]] = ("image_sizes",)

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_tower(config, CLIP)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        grids = config.image_grid_pinpoints
        return square_processor(LlavaNextImageProcessorPil, config.vision_config, image_grid_pinpoints=grids)

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        if "image_sizes" not in inputs:
            return []
        patches, newline = self.tokens_per_crop(self.model.config), torch.zeros(1)
        return [
            len(self._pack(torch.zeros(crops, patches, 1), size, newline))
            for size, crops in zip(inputs["image_sizes"].cpu(), self._crops(inputs), strict=True)
        ]

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core = self.model.model
        with projector_seen(core.multi_modal_projector) as seen, self.reading(signals) as found:
            given = {name: inputs[name] for name in self.inputs if name in inputs}
            packed = core.get_image_features(**given, return_dict=True).pooler_output
        crops = self._crops(inputs)
        every = None if encoder is None else encoder.embed_patches(seen["tower"], seen["projected"])
        joints = [None] * len(crops) if every is None else torch.split(every, crops)
        grid = square_grid(seen["projected"].shape[1])
        return [
            self._image(
                VisualTokens(projected, joint, tower, core.multi_modal_projector, signals=own, grid=grid),
                size,
                rows,
            )
            for projected, joint, tower, own, size, rows in zip(
                torch.split(seen["projected"], crops),
                joints,
                torch.split(seen["tower"], crops),
                by_image(found, crops),
                inputs["image_sizes"].cpu(),
                packed,
                strict=True,
            )
        ]

    def encode_smaller(self, inputs: dict[str, Tensor], budget: int | float) -> list[EncodedImage]:
        return encode_smaller_crops(self, inputs, budget)

    def _image(self, visual: VisualTokens, size: Tensor, packed: Tensor) -> EncodedImage:
        crops = visual.projected.shape[0]
        visual = replace(visual, tiles=self._tiles(size) if crops > 1 else None)
        return EncodedImage(visual, packed, self._source(size, crops).to(packed.device), crops, crops)

    def _tiles(self, size: Tensor) -> tuple[int, int]:
        """Return the (rows, columns) of the crops after the base crop."""
        config = self.model.config
        rows, columns = get_anyres_image_grid_shape(
            size.tolist(), config.image_grid_pinpoints, config.vision_config.image_size
        )
        return rows, columns

    def _crops(self, inputs: dict[str, Tensor]) -> list[int]:
        """Return the crops of each image, including the base crop."""
        config = self.model.config
        return [
            image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size)
            for size in inputs["image_sizes"].tolist()
        ]

    def _source(self, size: Tensor, crops: int) -> Tensor:
        """Return the source (length,) of every packed row, by running the model's own packing on indices.

        Unpadding and row order are then exactly those of the installed version.
        """
        patches = self.tokens_per_crop(self.model.config)
        indices = torch.arange(crops * patches).view(crops, patches, 1)
        return self._pack(indices, size, torch.tensor([SEPARATOR]))[:, 0]

    def _pack(self, features: Tensor, size: Tensor, newline: Tensor) -> Tensor:
        """Pack the features (crops, patches, width) of one image into (length, width)."""
        packed: Any = self.model.model.pack_image_features(
            [features], size[None], vision_feature_select_strategy="default", image_newline=newline
        )
        return packed[0][0]  # type: ignore[no-any-return]

"""LLaVA-1.5: one crop per image, CLIP tower, two-layer projector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import LlavaImageProcessorPil

from script_exp.models.families.adapter import (
    EncodedImage,
    Visual,
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


class LlavaAdapter(LlavaTower):
    """``LlavaForConditionalGeneration``."""

    shrinks = True
    on_host: ClassVar[tuple[str, ...]] = ("unpadded_sizes",)

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_tower(config, CLIP)

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load a processor that pads images to a square with the mean color, as in LLaVA-1.5's evaluation.

        The hub's checkpoints specify a center crop, which loses the edges of the picture.
        """
        return LlavaImageProcessorPil.from_pretrained(folder, do_pad=True, local_files_only=True)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return square_processor(LlavaImageProcessorPil, config.vision_config, do_pad=True)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return the pixels, and where pictures became squares the (height, width) that they had before."""
        tensors = super().process(image_processor, visuals)
        images = [visual for row in visuals for visual in row if isinstance(visual, Image)]
        padded = getattr(image_processor, "do_pad", False)
        if padded and any(image.height != image.width for image in images):
            tensors["unpadded_sizes"] = torch.tensor([(image.height, image.width) for image in images])
        return tensors

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        tokens = self.tokens_per_crop(self.model.config)
        return [tokens] * len(inputs["pixel_values"])

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core = self.model.model
        with projector_seen(core.multi_modal_projector) as seen, self.reading(signals) as found:
            packed = core.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        joint = None if encoder is None else encoder.embed_patches(seen["tower"], seen["projected"])
        source = torch.arange(seen["projected"].shape[1], device=seen["projected"].device)
        own = by_image(found, [1] * len(packed))
        grid = square_grid(len(source))
        sizes = inputs["unpadded_sizes"].tolist() if "unpadded_sizes" in inputs else []
        padding = [_padding(size, grid) for size in sizes] if grid is not None else []
        return [
            EncodedImage(
                VisualTokens(
                    projected=seen["projected"][i : i + 1],
                    joint=None if joint is None else joint[i : i + 1],
                    tower=seen["tower"][i : i + 1],
                    project=core.multi_modal_projector,
                    signals=own[i],
                    grid=grid,
                    padding=padding[i] if padding else None,
                ),
                packed[i],
                source,
                crops=1,
                budget_crops=1,
            )
            for i in range(len(packed))
        ]

    def encode_smaller(self, inputs: dict[str, Tensor], budget: int | float) -> list[EncodedImage]:
        return encode_smaller_crops(self, inputs, budget)


def _padding(size: Sequence[int], grid: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the (top, bottom, left, right) rows and columns of tokens in the padding of a picture.

    Args:
        size: (height, width) of the picture, which was centered in a square.
        grid: (rows, columns) of tokens that the square became.
    """
    side = max(size)
    bands = []
    for length, count in zip(size, grid, strict=True):
        start = (side - length) // 2
        bands += [start * count // side, count + -(start + length) * count // side]
    return (bands[0], bands[1], bands[2], bands[3]) if any(bands) else None

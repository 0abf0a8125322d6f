"""SmolVLM, SmolVLM2 and Idefics3: SigLIP on tiles and a thumbnail, pixel shuffle, words around every tile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import Idefics3ImageProcessorPil, SmolVLMImageProcessorPil
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from script_exp.models.families.adapter import EncodedImage, ModelAdapter, Visual, projector_seen
from script_exp.models.families.tiles import merged_signals, tiled_images, tiles_of
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.pruners.contract.signals import Signal

_AROUND, _GLOBAL = "<fake_token_around_image>", "<global-img>"


class SmolVLMAdapter(ModelAdapter):
    """``SmolVLMForConditionalGeneration`` and ``Idefics3ForConditionalGeneration`` on images.

    ``pixel_values`` (rows, tiles, 3, h, w) has one entry for each row of the batch with images, filled up
    with tiles of zeros. ``tile_grids`` (images, 2), the rows and columns of each image's tiles, is made here;
    without it, as in inputs of the stock processor, all tiles of a row count as one image.
    """

    adds_words = True
    image_words = rf"{_AROUND}|{_GLOBAL}|<row_\d+_col_\d+>"
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_attention_mask", "tile_grids")
    pixels_only: ClassVar[tuple[str, ...]] = ("pixel_attention_mask",)
    on_host: ClassVar[tuple[str, ...]] = ("tile_grids",)
    default_rules = PruningRules(relevance_sign=1)
    whole = (  # 5.23 names the attention alone, and a layer adds what stands before and behind it
        "SmolVLMEncoderLayer", "SmolVLMVisionEmbeddings", "Idefics3EncoderLayer", "Idefics3VisionEmbeddings",
    )  # fmt: skip

    @property
    def llm(self) -> Any:
        return self.model.model.text_model

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        rows = [list(row) for row in visuals if row]
        if not rows:
            return {}
        given = dict(image_processor(rows, return_row_col_info=True, return_tensors="pt"))
        grids = [
            (max(down, 1), max(across, 1))  # 0 of a picture that is not cut
            for of_row in zip(given.pop("rows"), given.pop("cols"), strict=True)
            for down, across in zip(*of_row, strict=True)
        ]
        return given | {"tile_grids": torch.tensor(grids)}

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return cls.tower_shape(config).crop_patches // int(config.scale_factor) ** 2

    def _crops(self, inputs: dict[str, Tensor]) -> list[int]:
        """Return the tiles of each image, with its thumbnail."""
        if "tile_grids" in inputs:
            return [tiles_of((rows, columns)) for rows, columns in inputs["tile_grids"].tolist()]
        counts: list[int] = _real(inputs["pixel_values"]).sum(dim=1).tolist()
        return counts

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        per_tile = self.tokens_per_crop(self.model.config)
        return [per_tile * tiles for tiles in self._crops(inputs)]

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        tile = placeholder * self.tokens_per_crop(self.model.config)
        texts = []
        for rows, columns in inputs["tile_grids"].tolist():
            text = ""
            for row in range(1, rows + 1) if rows * columns > 1 else ():
                for column in range(1, columns + 1):
                    text += f"{_AROUND}<row_{row}_col_{column}>{tile}"
                text += "\n"
            texts.append(text + ("\n" if text else "") + f"{_AROUND}{_GLOBAL}{tile}{_AROUND}")
        return texts

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core, crops = self.model.model, self._crops(inputs)
        project = core.connector.modality_projection
        with projector_seen(project) as seen, self.reading(signals) as found:
            core.get_image_features(
                inputs["pixel_values"], inputs.get("pixel_attention_mask"), return_dict=True
            )
        grids = inputs["tile_grids"].tolist() if "tile_grids" in inputs else []
        return tiled_images(
            seen["tower"],
            seen["projected"],
            project,
            encoder,
            merged_signals(found, int(self.model.config.scale_factor)),
            crops,
            [(rows, columns) for rows, columns in grids] or [None] * len(crops),
        )

    def pixels_of(self, inputs: dict[str, Tensor], images: Sequence[EncodedImage]) -> list[Tensor]:
        pixels = inputs["pixel_values"]
        return list(torch.split(pixels[_real(pixels)], [image.crops for image in images]))

    def pictures(self, image_processor: Any, processed: dict[str, Tensor]) -> np.ndarray:
        return np.roll(super().pictures(image_processor, processed), 1, axis=0)  # the thumbnail first

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        return TowerShape.of_square(config.vision_config)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        return int(2 * patches * config.vision_config.hidden_size * config.text_config.hidden_size)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        side = config.vision_config.image_size
        kind = SmolVLMImageProcessorPil if config.model_type == "smolvlm" else Idefics3ImageProcessorPil
        return kind(
            size={"longest_edge": 4 * side},
            max_image_size={"longest_edge": side},
            image_mean=IMAGENET_STANDARD_MEAN,
            image_std=IMAGENET_STANDARD_STD,
        )


def _real(pixels: Tensor) -> Tensor:
    """Return (rows, tiles) which tiles are pictures; those that fill up a row are zeros."""
    return (pixels != 0).flatten(2).any(dim=-1)

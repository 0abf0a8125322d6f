"""InternVL 2.5, 3 and 3.5: up to twelve tiles and a thumbnail, InternViT, 2 x 2 pixel shuffle."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import GotOcr2ImageProcessorPil
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from script_exp.errors import UserError
from script_exp.models.families.adapter import EncodedImage, ModelAdapter, Visual, projector_seen
from script_exp.models.families.crops import one_tensor
from script_exp.models.families.tiles import merged_signals, tiled_images, tiles_of
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.models.tower_signals import TowerNames, cannot_read
from script_exp.pruners.contract.signals import Signal


class InternVLAdapter(ModelAdapter):
    """``InternVLForConditionalGeneration`` on images (checkpoints named ``*-hf``).

    The tiles of all images are one tensor, and nothing in what the model gets says which belong together.
    ``tile_grids`` (images, 2), the rows and columns of each image's tiles, is made here. The stock processor
    does not give it: then the tiles of an image are counted in the prompt, where its placeholders are one
    run, and methods that use the places of tiles (``hired``, ``holov`` over the image) see none.
    """

    adds_words = True
    image_words = "<img></img>"
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "tile_grids")
    on_host: ClassVar[tuple[str, ...]] = ("tile_grids",)
    default_rules = PruningRules(relevance_sign=1)
    tower_names = TowerNames("encoder.layer", "attention", "layernorm_before")

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Cut pictures as the processor class does; the image processor alone would give one tile."""
        flat = [visual for row in visuals for visual in row]
        if not flat:
            return {}
        given = image_processor(flat, crop_to_patches=True, return_tensors="pt")
        size, limits = image_processor.size, (image_processor.min_patches, image_processor.max_patches)
        canvases = [
            get_optimal_tiled_canvas((one.height, one.width), (size.height, size.width), *limits)
            for one in flat
            if isinstance(one, Image.Image)
        ]
        grids = torch.tensor([(rows, columns) for columns, rows in canvases])
        return {"pixel_values": given["pixel_values"], "tile_grids": grids}

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return cls.tower_shape(config).crop_patches // cls._merge(config) ** 2

    @staticmethod
    def _merge(config: Any) -> int:
        """Return the patches along a token."""
        patches: int = round(1 / config.downsample_ratio)
        return patches

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        per_tile = self.tokens_per_crop(self.model.config)
        return [per_tile * tiles for tiles in self._crops(inputs)]

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        return [f"<img>{placeholder * length}</img>" for length in self.lengths(inputs)]

    def _crops(self, inputs: dict[str, Tensor]) -> list[int]:
        """Return the tiles of each image, with its thumbnail."""
        if "tile_grids" in inputs:
            return [tiles_of((rows, columns)) for rows, columns in inputs["tile_grids"].tolist()]
        per_tile = self.tokens_per_crop(self.model.config)
        runs = (
            len(list(run))
            for row in inputs["input_ids"].tolist()
            for token, run in itertools.groupby(row)
            if token == self.placeholder_id
        )
        return [length // per_tile for length in runs]

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core, crops = self.model.model, self._crops(inputs)
        projector = core.multi_modal_projector
        with projector_seen(projector) as seen, self.reading(signals) as found:
            core.get_image_features(inputs["pixel_values"], return_dict=True)
        grids = inputs["tile_grids"].tolist() if "tile_grids" in inputs else []
        return tiled_images(
            seen["tower"],
            seen["projected"],
            projector,
            encoder,
            merged_signals(found, self._merge(self.model.config)),
            crops,
            [(rows, columns) for rows, columns in grids] or [None] * len(crops),
        )

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        return {"mm_encoder_outputs": {self.modality: one_tensor(features)}}

    def pixels_of(self, inputs: dict[str, Tensor], images: Sequence[EncodedImage]) -> list[Tensor]:
        return list(torch.split(inputs["pixel_values"], [image.crops for image in images]))

    def pictures(self, image_processor: Any, processed: dict[str, Tensor]) -> np.ndarray:
        return np.roll(super().pictures(image_processor, processed), 1, axis=0)  # the thumbnail first

    @classmethod
    def check_signals(cls, signals: Collection[Signal], config: Any) -> None:
        for signal in signals:
            if signal.kind == "class_token":  # a token is four patches wide, and it is one
                others = "saliency, cls, received, keys, flat_saliency or flat_keys"
                raise UserError(cannot_read(signal, others))
        super().check_signals(signals, config)

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        (height, width), (rows, columns) = vision.image_size, vision.patch_size
        return TowerShape(
            vision.hidden_size,
            vision.intermediate_size,
            vision.num_hidden_layers,
            patch=vision.num_channels * rows * columns,
            crop=(height // rows) * (width // columns),
            has_class=True,
        )

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        group, d = cls._merge(config) ** 2, config.text_config.hidden_size
        return int(2 * (patches // group) * (config.vision_config.hidden_size * group * d + d * d))

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        height, width = config.vision_config.image_size
        return GotOcr2ImageProcessorPil(
            size={"height": height, "width": width},
            image_mean=IMAGENET_DEFAULT_MEAN,
            image_std=IMAGENET_DEFAULT_STD,
        )

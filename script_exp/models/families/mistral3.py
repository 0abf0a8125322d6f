"""Mistral Small 3.1 and 3.2: Pixtral's tower at native resolution, 2 x 2 patch merger, words between rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PixtralImageProcessorPil

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage, ModelAdapter, Visual, projector_seen
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.models.tower_signals import by_image, index_of
from script_exp.models.window_signals import check_layers, patch_signals
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

_BREAK, _END = "[IMG_BREAK]", "[IMG_END]"
Size = tuple[int, int]
"""(rows, columns) of an image's tokens."""


class Mistral3Adapter(ModelAdapter):
    """``Mistral3ForConditionalGeneration`` on images.

    The words between the rows are tokens of the prompt and not of the packed image. They count as separators,
    as LLaVA-NeXT's newlines do; what ends an image is text.
    """

    variable_size = True
    has_separators = True
    row_ends = (_BREAK,)
    adds_words = True
    word_ids: ClassVar[dict[str, int]] = {_BREAK: 12, _END: 13}
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")
    on_host: ClassVar[tuple[str, ...]] = ("image_sizes",)
    default_rules = PruningRules(relevance_sign=1)

    @classmethod
    def check_config(cls, config: Any) -> None:
        found = {
            "vision_config.model_type": (config.vision_config.model_type, "pixtral"),
            "vision_feature_layer": (config.vision_feature_layer, -1),
            "text_config.model_type": (config.text_config.model_type, "mistral"),
        }
        for key, (value, expected) in found.items():
            if value != expected:
                raise SettingError(key, value, f"{expected}, the only one of this adapter")

    @classmethod
    def check_signals(cls, signals: Collection[Signal], config: Any) -> None:
        check_layers(signals, range(1 - config.vision_config.num_hidden_layers, 1))

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int | None:
        return None

    @staticmethod
    def _side(config: Any) -> int:
        """Return the pixels along a token."""
        return int(config.vision_config.patch_size * config.spatial_merge_size)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        flat = [visual for row in visuals for visual in row]
        side = self._side(self.model.config)  # a bare image processor knows the patches alone
        patch = {"height": side, "width": side}
        return dict(image_processor(flat, patch_size=patch, return_tensors="pt")) if flat else {}

    def _sizes(self, inputs: dict[str, Tensor]) -> list[Size]:
        side = self._side(self.model.config)
        return [(height // side, width // side) for height, width in inputs["image_sizes"].tolist()]

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        return [rows * columns for rows, columns in self._sizes(inputs)]

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        return [_BREAK.join([placeholder * columns] * rows) + _END for rows, columns in self._sizes(inputs)]

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core, merge, sizes = self.model.model, self.model.config.spatial_merge_size, self._sizes(inputs)
        layers = core.vision_tower.transformer.layers
        attentions = {signal: layers[index_of(signal, len(layers) - 1)].attention for signal in signals}
        patches = [rows * columns * merge**2 for rows, columns in sizes]
        first = core.multi_modal_projector.linear_1
        with projector_seen(first) as seen, patch_signals(attentions, patches) as parts:
            output = core.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True)
        read = by_image({signal: torch.cat(values) for signal, values in parts.items()}, patches)
        towers = torch.split(seen["tower"], self.lengths(inputs))
        images = []
        for rows, tower, own, size in zip(output.pooler_output, towers, read, sizes, strict=True):
            visual = VisualTokens(
                rows[None],
                None if encoder is None else encoder.embed_patches(tower[None], rows[None]),
                tower[None],
                self._project,
                signals={signal: _merged(values, size, merge)[None] for signal, values in own.items()},
                grid=size,
            )
            source = torch.arange(len(rows), device=rows.device)
            grid = (1, size[0] * merge, size[1] * merge)
            images.append(EncodedImage(visual, rows, source, 1, 1, grid=grid))
        return images

    def _project(self, merged: Tensor) -> Tensor:
        """Return what the projector makes of merged patches."""
        projector = self.model.model.multi_modal_projector
        projected: Tensor = projector.linear_2(projector.act(projector.linear_1(merged)))
        return projected

    def token_grid(self, processed: dict[str, Tensor]) -> Size:
        return self._sizes(processed)[0]

    def pixels_of(self, inputs: dict[str, Tensor], images: Sequence[EncodedImage]) -> list[Tensor]:
        pixels, sizes = inputs["pixel_values"], inputs["image_sizes"].tolist()
        return [one[:, :height, :width] for one, (height, width) in zip(pixels, sizes, strict=True)]

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        vision = config.vision_config
        patch = vision.num_channels * vision.patch_size**2
        width, mlp, layers = vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers
        return TowerShape(width, mlp, layers, patch, gated=True, mixes_images=True)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count the merger and the projector's two layers."""
        v, d = config.vision_config.hidden_size, config.text_config.hidden_size
        group = config.spatial_merge_size**2
        return int(2 * (patches // group) * (group * v * v + v * d + d * d))

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        vision, side = config.vision_config, cls._side(config)
        return PixtralImageProcessorPil(
            size={"longest_edge": vision.image_size}, patch_size={"height": side, "width": side}
        )


def _merged(values: Tensor, size: Size, merge: int) -> Tensor:
    """Return the means of (patches, ...) in raster order over the ``merge`` x ``merge`` of each token."""
    rows, columns = size
    return values.reshape(rows, merge, columns, merge, *values.shape[1:]).mean(dim=(1, 3)).flatten(0, 1)

"""Qwen2.5-VL: native resolution, windowed tower, 2 x 2 patch merger, positions in time, rows and columns."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from script_exp.models.families.adapter import EncodedImage, ModelAdapter
from script_exp.models.families.qwen2_5_vl_tower import Qwen25VLTower
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.families.smaller import smaller_patches
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image
from script_exp.models.window_signals import Grid, merged_grid, window_signals
from script_exp.pruners.arithmetic.cells import covering
from script_exp.pruners.contract.budget import grid_within
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens


class Qwen25VLAdapter(Qwen25VLTower):
    """``Qwen2_5_VLForConditionalGeneration`` on images.

    A pruner sees the tokens after the patch merger, in raster order: these are what the LLM sees, and the
    tower's own features are in window order. There is no projector for aggregated tokens.
    """

    shrinks = True
    inputs = ("pixel_values", "image_grid_thw")
    video: ClassVar[type[ModelAdapter] | None] = Qwen25VLVideoAdapter

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        merged: list[int] = (
            inputs["image_grid_thw"].prod(dim=-1) // self.model.config.vision_config.spatial_merge_size**2
        ).tolist()
        return merged

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        grids: list[Grid] = [tuple(grid) for grid in inputs["image_grid_thw"].tolist()]
        with window_signals(self.model.model.visual, signals, grids) as found:
            output: Any = self.model.model.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
            )
        images = []
        own = by_image(found, self.lengths(inputs))
        for index, (rows, grid, read) in enumerate(zip(output.pooler_output, grids, own, strict=True)):
            projected = rows[None]
            joint = None if encoder is None else encoder.embed_patches(None, projected)
            source = torch.arange(len(rows), device=rows.device)
            tokens = VisualTokens(
                projected,
                joint,
                signals={signal: values[None] for signal, values in read.items()},
                grid=merged_grid(grid, self.model.config.vision_config),
            )
            deep = self.deep_of(output, index)
            images.append(EncodedImage(tokens, rows, source, 1, 1, grid=grid, deep=deep))
        return images

    def encode_smaller(self, inputs: dict[str, Tensor], budget: int | float) -> list[EncodedImage]:
        vision = self.model.config.vision_config
        whole: list[Grid] = [tuple(grid) for grid in inputs["image_grid_thw"].tolist()]
        merged = [merged_grid(grid, vision) for grid in whole]
        shapes = [grid_within(budget, grid) for grid in merged]
        parts = torch.split(inputs["pixel_values"], [math.prod(grid) for grid in whole])
        given = zip(parts, whole, shapes, strict=True)
        merge = vision.spatial_merge_size
        small = {
            "pixel_values": torch.cat([smaller_patches(*one, vision) for one in given]),
            "image_grid_thw": torch.tensor(
                [
                    (grid[0], rows * merge, columns * merge)
                    for grid, (rows, columns) in zip(whole, shapes, strict=True)
                ],
                device=inputs["image_grid_thw"].device,
            ),
        }
        images = []
        for image, grid, shape in zip(self.encode_images(small, None), merged, shapes, strict=True):
            cells = covering(shape, grid, image.packed.device)
            rows, deep = image.packed[cells], None if image.deep is None else image.deep[:, cells]
            tokens = VisualTokens(rows[None], grid=grid, smaller=shape)
            source = torch.arange(len(rows), device=rows.device)
            images.append(replace(image, visual=tokens, packed=rows, source=source, deep=deep))
        return images

    def position_ids(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return (4, batch, length): a count for the mask, then time, row and column."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        count = (mask.cumsum(dim=-1) - 1).clamp(min=0)[None]
        if "image_grid_thw" not in inputs:
            return count.expand(4, -1, -1)
        # transformers reads the grids and masks on the host: about nine waits for the device an image
        axes, _ = self.model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == self.placeholder_id).int(),
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=mask,
        )
        return torch.cat([count, axes])

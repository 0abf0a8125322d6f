"""Qwen2.5-VL on videos: two frames per time step, positions that follow real time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from script_exp.benchmarks.reading.frame_count import Frames, PerSecond
from script_exp.models.families.adapter import EncodedImage, Visual
from script_exp.models.families.qwen2_5_vl_tower import Qwen25VLTower
from script_exp.models.families.video import paired_patches, videos_of
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image
from script_exp.models.window_signals import Grid, merged_grid, window_signals
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

# Limits of the authors' qwen-vl-utils, in tokens of a frame, and of all frames (VIDEO_MIN_PIXELS,
# VIDEO_MAX_PIXELS, VIDEO_TOTAL_PIXELS); transformers' video processor has the same with cap_pixels_per_frame.
_LOWEST, _HIGHEST, _TOTAL = 128, 768, int(128_000 * 0.9)
_RATE = 2.0  # frames per second in qwen-vl-utils, also for frames without a rate


class Qwen25VLVideoAdapter(Qwen25VLTower):
    """``Qwen2_5_VLForConditionalGeneration``, videos only.

    The tower takes frames in pairs: the pairs are the crops, and the budget is per pair.
    """

    modality = "video"
    inputs = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")
    on_host = ("second_per_grid_ts",)
    frames = PerSecond(fps=_RATE, min_frames=4, max_frames=768, multiple=2)  # defaults of qwen-vl-utils

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        return int(config.video_token_id)

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return the patches of all videos, their grids (t, h, w), and the seconds per time step."""
        videos = videos_of(visuals)
        if not videos:
            return {}
        pair = int(self.model.config.vision_config.temporal_patch_size)
        token = (image_processor.patch_size * image_processor.merge_size) ** 2  # pixels
        limits = (self.frame_limits(len(video), token, pair) for video in videos)
        cut = (paired_patches(image_processor, *one, pair) for one in zip(videos, limits, strict=True))
        patches, grids = zip(*cut, strict=True)
        rates = [(video.rate if isinstance(video, Frames) else None) or _RATE for video in videos]
        return {
            "pixel_values_videos": torch.cat(patches),
            "video_grid_thw": torch.tensor(grids),
            "second_per_grid_ts": torch.tensor([pair / rate for rate in rates], dtype=torch.float64),
        }

    @staticmethod
    def frame_limits(count: int, token: int, pair: int) -> tuple[int, int]:
        """Return the fewest and the most pixels of a frame, for the image processor.

        Args:
            count: frames of the video.
            token: pixels of a token.
            pair: frames of a time step.
        """
        share = min(_HIGHEST * token, _TOTAL * token * pair // count)
        return _LOWEST * token, max(share, int(_LOWEST * token * 1.05))

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        group = self.model.config.vision_config.spatial_merge_size**2
        merged: list[int] = (inputs["video_grid_thw"].prod(dim=-1) // group).tolist()
        return merged

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        grids: list[Grid] = [tuple(grid) for grid in inputs["video_grid_thw"].tolist()]
        with window_signals(self.model.model.visual, signals, grids) as found:
            output: Any = self.model.model.get_video_features(
                inputs["pixel_values_videos"], inputs["video_grid_thw"], return_dict=True
            )
        videos = []
        own = by_image(found, self.lengths(inputs))
        for index, (rows, grid, read) in enumerate(zip(output.pooler_output, grids, own, strict=True)):
            projected = rows.unflatten(0, (grid[0], -1))
            joint = None if encoder is None else encoder.embed_patches(None, projected)
            source = torch.arange(len(rows), device=rows.device)
            steps = len(projected)
            tokens = VisualTokens(
                projected,
                joint,
                signals={
                    signal: values.reshape(steps, -1, *values.shape[1:]) for signal, values in read.items()
                },
                grid=merged_grid(grid, self.model.config.vision_config),
                frames=int(self.model.config.vision_config.temporal_patch_size),
            )
            deep = self.deep_of(output, index)
            videos.append(EncodedImage(tokens, rows, source, steps, steps, grid=grid, deep=deep))
        return videos

    def position_ids(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return (4, batch, length): a count for the mask, then time, row and column."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        count = (mask.cumsum(dim=-1) - 1).clamp(min=0)[None]
        if "video_grid_thw" not in inputs:
            return count.expand(4, -1, -1)
        seconds = inputs.get("second_per_grid_ts")
        # transformers reads the grids and masks on the host, which waits for the device
        axes, _ = self.model.model.get_rope_index(
            ids,
            mm_token_type_ids=2 * (ids == self.placeholder_id).int(),
            video_grid_thw=inputs["video_grid_thw"],
            second_per_grid_ts=None if seconds is None else [float(one) for one in seconds],
            attention_mask=mask,
        )
        return torch.cat([count, axes])

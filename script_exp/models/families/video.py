"""What the video adapters share, and the video settings of a checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.benchmarks.reading.frame_count import FrameCount, PerSecond, frame_count
from script_exp.errors import SettingError, UserError
from script_exp.models.families.adapter import ModelAdapter, Visual
from script_exp.models.families.crops import one_tensor
from script_exp.models.json_object import read_object


class VideoAdapter(ModelAdapter):
    """A family on videos whose frames are its crops; the budget is per frame."""

    modality = "video"
    inputs = ("pixel_values_videos",)

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        return int(config.video_token_id)

    @classmethod
    @abstractmethod
    def tokens_per_crop(cls, config: Any) -> int:
        """Return the visual tokens of one frame."""

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return pixels (videos, frames, channels, height, width); all videos need the same frame count."""
        videos = videos_of(visuals)
        counts = {len(video) for video in videos}
        if len(counts) > 1:
            raise UserError(
                f"the videos of one batch have {sorted(counts)} frames: expected the same number in each"
            )
        frames = [image_processor(list(video), return_tensors="pt")["pixel_values"] for video in videos]
        return {"pixel_values_videos": torch.stack(frames)} if frames else {}

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        videos, frames = inputs["pixel_values_videos"].shape[:2]
        return [frames * self.tokens_per_crop(self.model.config)] * videos

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        if len({len(video) for video in features}) > 1:
            return {"mm_encoder_outputs": {"video": one_tensor(features)}}
        videos = torch.stack(features)  # the model's own layout
        return {"mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=videos)}}


def videos_of(visuals: Sequence[Sequence[Visual]]) -> list[Sequence[Image.Image]]:
    """Return the videos of all rows in order.

    Raises:
        UserError: if one of them is an image.
    """
    videos: list[Sequence[Image.Image]] = []
    for visual in (visual for row in visuals for visual in row):
        if isinstance(visual, Image.Image):
            raise UserError("the model takes videos here: expected a list of frames, got a single image")
        videos.append(visual)
    return videos


def paired_patches(
    image_processor: Any, video: Sequence[Image.Image], limits: tuple[int, int], pair: int
) -> tuple[Tensor, tuple[int, int, int]]:
    """Return the patches (t * h * w, channels * pair * rows * columns) and the grid (t, h, w) of one video.

    The last frame is repeated to fill the last pair. The video processor needs torchvision, and the image
    processor repeats each image in time; only the first repetition of every frame is used.

    Args:
        image_processor: the one of Qwen2-VL or GLM-4V.
        video: the frames.
        limits: the fewest and the most pixels of a frame.
        pair: frames of a time step.

    Raises:
        UserError: if the frames differ in size.
    """
    frames = [*video, *[video[-1]] * (-len(video) % pair)]
    size = dict(zip(("shortest_edge", "longest_edge"), limits, strict=True))
    given = image_processor(frames, size=size, return_tensors="pt")
    grid = given["image_grid_thw"]
    if (grid != grid[0]).any():
        raise UserError("the frames of a video differ in size: expected frames of one size")
    _, height, width = grid[0].tolist()
    steps, side = len(frames) // pair, int(image_processor.patch_size)
    single = given["pixel_values"].view(steps, pair, height * width, -1, pair, side**2)[..., 0, :]
    return single.permute(0, 2, 3, 1, 4).reshape(steps * height * width, -1), (steps, height, width)


def video_settings(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's video processor settings, in transformers' search order; empty if it has none.

    Raises:
        UserError: if a file is not a JSON object.
    """
    whole, alone = folder / "processor_config.json", folder / "video_preprocessor_config.json"
    own = read_object(whole).get("video_processor") if whole.is_file() else None
    if not isinstance(own or {}, dict):
        raise UserError(f"{whole}: video_processor={own}: expected an object")
    return own or (read_object(alone) if alone.is_file() else {})


def frames_of_checkpoint(folder: Path, usual: FrameCount) -> FrameCount:
    """Return the frame count in a checkpoint's config, as transformers' video processors read it.

    Args:
        folder: folder of the checkpoint.
        usual: frame count of its family, for what the config does not say.

    Raises:
        UserError: if the config has an invalid frame count.
    """
    settings = {key: value for key, value in video_settings(folder).items() if value is not None}
    try:
        if "num_frames" in settings:
            return frame_count(settings["num_frames"])
        if isinstance(usual, PerSecond) or "fps" in settings:
            base = usual if isinstance(usual, PerSecond) else PerSecond(fps=1)
            return PerSecond(
                fps=settings.get("fps", base.fps),
                min_frames=settings.get("min_frames", base.min_frames),
                max_frames=settings.get("max_frames", base.max_frames),
                multiple=base.multiple,
            )
    except SettingError as error:
        raise UserError(f"the video processor's config in {folder}: {error}") from error
    return usual

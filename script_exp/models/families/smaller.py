"""Pictures made smaller before they are encoded, for towers of one size and for Qwen2.5-VL's."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from script_exp.models.families.adapter import EncodedImage, ModelAdapter
from script_exp.models.tower_layers import bare_tower
from script_exp.pruners.arithmetic.cells import covering
from script_exp.pruners.contract.budget import grid_within


def encode_smaller_crops(
    adapter: ModelAdapter, inputs: dict[str, Tensor], budget: int | float
) -> list[EncodedImage]:
    """Run a tower for crops of one size, and the projector, on smaller crops.

    The tower interpolates its position embeddings. Behind the projector, each token is repeated at all places
    of the whole crop that it covers, so that the model packs the crops as always.
    """
    core, vision, name = adapter.model.model, adapter.model.config.vision_config, adapter.inputs[0]
    grid = (int(vision.image_size // vision.patch_size),) * 2
    shape = grid_within(budget, grid)
    with ExitStack() as hooks:
        if shape != grid:
            pixels = inputs[name]
            cells = covering(shape, grid, pixels.device)
            inputs = inputs | {name: resized(pixels, shape, vision.patch_size)}
            embeddings = bare_tower(adapter.model).embeddings
            hooks.callback(embeddings.register_forward_pre_hook(_interpolate, with_kwargs=True).remove)
            spread = core.multi_modal_projector.register_forward_hook(
                lambda _, __, tokens: tokens[:, cells.to(tokens.device)]
            )
            hooks.callback(spread.remove)
        images = adapter.encode_images(inputs, None)
    return [
        replace(image, visual=replace(image.visual, tower=None, project=None, smaller=shape))
        for image in images
    ]


def resized(pixels: Tensor, shape: tuple[int, int], patch: int) -> Tensor:
    """Scale pixels (..., channels, height, width) to h x w patches, bilinearly and with antialiasing."""
    flat = pixels.float().flatten(0, -4)
    size = [length * patch for length in shape]
    small = functional.interpolate(flat, size, mode="bilinear", antialias=True)
    return small.view(*pixels.shape[:-2], *size).to(pixels.dtype)


def frames_of(patches: Tensor, grid: tuple[int, int, int], config: Any) -> Tensor:
    """Return the frames (t, pair, channels, height, width) of one of Qwen2.5-VL's images or videos.

    Args:
        patches: (t rows columns, channels * pair * side * side), the patches of a merged token together.
        grid: (t, rows, columns) in patches.
        config: the config of the tower.
    """
    time, merge, side = grid[0], config.spatial_merge_size, config.patch_size
    rows, columns = grid[1] // merge, grid[2] // merge
    own = (config.in_channels, config.temporal_patch_size, side, side)
    apart = patches.view(time, rows, columns, merge, merge, *own).permute(0, 6, 5, 1, 3, 7, 2, 4, 8)
    return apart.reshape(time, own[1], own[0], rows * merge * side, columns * merge * side)


def smaller_patches(
    patches: Tensor, grid: tuple[int, int, int], shape: tuple[int, int], config: Any
) -> Tensor:
    """Return the patches of one of Qwen2.5-VL's images made smaller.

    Args:
        patches, grid, config: as for :func:`frames_of`.
        shape: (rows, columns) of the smaller image in merged tokens.
    """
    merge, side = config.spatial_merge_size, config.patch_size
    small = resized(frames_of(patches, grid, config), shape, merge * side)
    again = small.view(*small.shape[:3], shape[0], merge, side, shape[1], merge, side)
    return again.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, patches.shape[1])


def _interpolate(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, kwargs | {"interpolate_pos_encoding": True}

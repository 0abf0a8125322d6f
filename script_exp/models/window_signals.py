"""Read what methods declare of the towers of Qwen-VL and its kin, for pictures of any size.

Those with attention windows (Qwen2.5-VL) run their patches in the order of the windows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from script_exp.errors import SettingError, UserError
from script_exp.models.attention_rows import attention_inputs
from script_exp.models.tower_signals import cannot_read, index_of, received
from script_exp.pruners.contract.signals import Signal

Grid: TypeAlias = tuple[int, int, int]
"""(time, rows, columns) of an image or a video, in patches."""

_KNOWN = ("received", "saliency", "keys")


def check_signals(signals: Collection[Signal], config: Any) -> None:
    """Check that such a tower has these signals.

    Raises:
        UserError: if it does not have such a signal.
        SettingError: for a layer that it lacks, or whose attention stays within windows.
    """
    vision = config.vision_config
    check_layers(signals, [block - vision.depth + 1 for block in _across(vision)])


def check_layers(signals: Collection[Signal], layers: Sequence[int]) -> None:
    """Check that a tower for pictures of any size has these signals, in ``layers``, of which 0 is the last.

    Raises:
        UserError: if it does not have such a signal.
        SettingError: for another layer.
    """
    for signal in sorted(signals):
        if signal.kind not in _KNOWN:
            raise UserError(cannot_read(signal, "saliency, received or keys"))
        if isinstance(signal.layer, int) and signal.layer not in layers:
            listed = ", ".join(map(str, layers))
            raise SettingError(
                "layer",
                signal.layer,
                f"one of {listed}, the tower's layers that attend to a whole image, or a share in (0, 1)",
            )


def merged_grid(grid: Grid, config: Any) -> tuple[int, int]:
    """Return the (rows, columns) of merged tokens of an image or of each frame of a video."""
    _, rows, columns = grid
    return rows // config.spatial_merge_size, columns // config.spatial_merge_size


@contextmanager
def window_signals(
    tower: Any, signals: Collection[Signal], grids: Sequence[Grid]
) -> Iterator[Mapping[Signal, Tensor]]:
    """Within the context, one forward pass of the tower puts its signals into the dictionary.

    They belong to the merged tokens of all ``grids`` in raster order, (tokens,) or (tokens, width): the mean
    over the patches of each. The keys are those that attention uses, with rotary embedding.
    """
    found: dict[Signal, Tensor] = {}
    frames = [rows * columns for time, rows, columns in grids for _ in range(time)]
    config = tower.config
    layers = {signal: tower.blocks[block_of(signal, config)].attn for signal in signals}
    with patch_signals(layers, frames) as parts:
        yield found
    raster = torch.cat(_window_orders(grids, config)).argsort() if _has_windows(config) else None
    for signal, values in parts.items():
        merged = _mean_of(torch.cat(values), config.spatial_merge_size**2)
        found[signal] = merged if raster is None else merged[raster.to(merged.device)]


@contextmanager
def patch_signals(
    layers: Mapping[Signal, nn.Module], frames: Sequence[int]
) -> Iterator[Mapping[Signal, list[Tensor]]]:
    """Within the context, one forward pass of a tower adds each signal of its patches to a list, in parts.

    Args:
        layers: the attention layer that each signal is about.
        frames: the patches of each frame in the order of the tower; attention never crosses frames.
    """
    parts: dict[Signal, list[Tensor]] = {signal: [] for signal in layers}
    with ExitStack() as hooks:
        for layer in dict.fromkeys(layers.values()):
            wanted = {signal: part for signal, part in parts.items() if layers[signal] is layer}
            hooks.enter_context(attention_inputs(layer, partial(_see, wanted, frames)))
        yield parts


def block_of(signal: Signal, config: Any) -> int:
    """Return a block's index; for a share the nearest with attention across windows, the later of two."""
    index = index_of(signal, config.depth - 1)
    if isinstance(signal.layer, int):
        return index
    return min(reversed(_across(config)), key=lambda block: abs(block - index))


def _has_windows(config: Any) -> bool:
    """Return whether attention stays within windows in most blocks."""
    return hasattr(config, "window_size")


def _across(config: Any) -> list[int]:
    """Return the blocks whose attention spans a whole frame."""
    return sorted(config.fullatt_block_indexes) if _has_windows(config) else list(range(config.depth))


def _see(
    wanted: Mapping[Signal, list[Tensor]],
    frames: Sequence[int],
    query: Tensor,
    key: Tensor,
    _: Tensor | None,
    scaling: float,
) -> None:
    """Take one call of the kernel: a single frame, or all frames at once for flash attention."""
    lengths = list(frames) if key.shape[2] == sum(frames) else [key.shape[2]]
    parts = (torch.split(tensor, lengths, dim=2) for tensor in (query, key))
    for own_query, own_key in zip(*parts, strict=True):
        for signal, values in wanted.items():
            if signal.kind == "keys":
                values.append(own_key.float().mean(dim=1)[0])
            else:
                values.append(received(own_query, own_key, scaling)[0])


def _mean_of(values: Tensor, count: int) -> Tensor:
    """Return the means over each ``count`` consecutive rows."""
    return values.reshape(-1, count, *values.shape[1:]).mean(dim=1)


def _window_orders(grids: Sequence[Grid], config: Any) -> list[Tensor]:
    """Return the merged tokens' raster indices in the order of the windows, which the tower runs in."""
    merge, first, orders = config.spatial_merge_size, 0, []
    side = config.window_size // merge // config.patch_size
    for time, rows, columns in grids:
        places = torch.cartesian_prod(
            torch.arange(time), torch.arange(rows // merge), torch.arange(columns // merge)
        )
        step, row, column = places.unbind(dim=1)
        windows = torch.stack([step, row // side, column // side, row % side, column % side])
        span = windows.max(dim=1).values + 1
        rank = torch.zeros_like(step)
        for place, size in zip(windows, span, strict=True):
            rank = rank * size + place
        orders.append(rank.argsort() + first)
        first += len(rank)
    return orders

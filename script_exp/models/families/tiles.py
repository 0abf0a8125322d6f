"""What families share that cut a picture into tiles and put a thumbnail of all of it behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.models.families.crops import square_grid
from script_exp.models.families.encoded import EncodedImage
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_signals import by_image, per_token
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

Shape = tuple[int, int]
"""(rows, columns) of a picture's tiles, without the thumbnail."""


def tiles_of(shape: Shape) -> int:
    """Return the crops of a picture: its tiles and, if there are several, the thumbnail."""
    return math.prod(shape) + (math.prod(shape) > 1)


def tiled_images(
    tower: Tensor,
    projected: Tensor,
    project: Callable[[Tensor], Tensor],
    encoder: QueryEncoder | None,
    signals: Mapping[Signal, Tensor],
    crops: list[int],
    shapes: Sequence[Shape | None],
) -> list[EncodedImage]:
    """Return the images of a batch from the features of all their crops.

    A pruner sees the thumbnail first, as it sees the base crop of LLaVA-NeXT; in the prompt it stays last.

    Args:
        tower: (all crops, n, v) what enters the projector.
        projected: (all crops, n, d) what leaves it.
        project: the projector.
        encoder: embeds tokens in the query encoder's space; None if no pruner needs it.
        signals: of all crops.
        crops: number of crops of each image.
        shapes: how each image was cut; None if nothing says it.
    """
    joint = None if encoder is None else encoder.embed_patches(tower, projected)
    joints = [None] * len(crops) if joint is None else [_turned(one) for one in torch.split(joint, crops)]
    n = projected.shape[1]
    images = []
    for own, before, its_joint, read, count, shape in zip(
        torch.split(projected, crops),
        torch.split(tower, crops),
        joints,
        by_image(signals, crops),
        crops,
        shapes,
        strict=True,
    ):
        visual = VisualTokens(
            _turned(own),
            its_joint,
            _turned(before),
            project,
            signals={signal: _turned(values) for signal, values in read.items()},
            grid=square_grid(n),
            tiles=shape if count > 1 else None,
        )
        source = torch.arange(count * n, device=own.device).roll(-n)  # the first crop comes last
        images.append(EncodedImage(visual, own.flatten(0, 1), source, count, count))
    return images


def merged_signals(signals: Mapping[Signal, Tensor], merge: int) -> dict[Signal, Tensor]:
    """Return the means of signals of square crops over the ``merge`` x ``merge`` patches of each token."""

    def mean(values: Tensor) -> Tensor:
        side = math.isqrt(values.shape[1])
        small = functional.avg_pool2d(values.mT.reshape(len(values), -1, side, side), merge)
        return small.flatten(2).mT

    return {signal: per_token(mean, values) for signal, values in signals.items()}


def _turned(crops: Tensor) -> Tensor:
    """Return the last of an image's crops first."""
    return crops.roll(1, dims=0)

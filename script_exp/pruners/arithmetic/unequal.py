"""What methods share whose count follows from the image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from script_exp.pruners.contract.visual_tokens import VisualTokens


def outliers(values: Tensor) -> int:
    """Return how many of all ``values`` lie above Q3 + 1.5 (Q3 - Q1), with linear interpolation."""
    lower, upper = values.quantile(0.25), values.quantile(0.75)
    return int((values > upper + 1.5 * (upper - lower)).sum())  # waits for the device: it is a shape


def output_of_each_crop(
    visual: VisualTokens, places: Tensor, output: Callable[[VisualTokens, Tensor], Tensor]
) -> Tensor:
    """Return the tokens (m + a, d) for unequal counts from a method's ``output`` of crops that are alone.

    Args:
        visual: all crops.
        places: (m,) crop * n + index, ascending.
        output: from one crop and its indices (1, own), returns (1, own + a / crops, d).
    """
    n, kept, aggregated = visual.projected.shape[1], [], []
    for crop in range(len(visual.projected)):
        own = places[places // n == crop] % n  # waits for the device: crops keep different numbers
        alone = visual.map(partial(torch.narrow, dim=0, start=crop, length=1))
        tokens = output(alone, own[None])[0]
        kept.append(tokens[: len(own)])
        aggregated.append(tokens[len(own) :])
    return torch.cat([*kept, *aggregated])

"""Check that a checkpoint's image processor makes what its vision tower takes, before weights are loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from PIL import Image
from torch import Tensor

from script_exp.errors import UserError
from script_exp.models.families.adapter import ModelAdapter, Visual

_SIDE = 56
"""Pixels along the picture that is tried."""


def check_image_processor(setting: str, processor: Any, adapter: type[ModelAdapter], config: Any) -> None:
    """Process one small picture, or a video of two.

    Args:
        setting: where the checkpoint comes from, for the message.
        processor: the image processor.
        adapter: adapter of the model's family.
        config: config of the model.

    Raises:
        UserError: if the processor is one of another family, or makes pictures or patches of another size.
    """
    picture = Image.new("RGB", (_SIDE, _SIDE))
    visual: Visual = picture if adapter.modality == "image" else [picture, picture]
    name = type(processor).__name__
    expected = "the preprocessor_config.json of the checkpoint"
    try:
        made = adapter(SimpleNamespace(config=config)).process(processor, [[visual]])
        pixels = made[adapter.inputs[0]]
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, UserError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{setting}: {name} does not fit this model ({why}); expected {expected}") from error
    missing = sorted({*adapter.inputs} - {*made})
    if missing:
        given = ", ".join(made)
        raise UserError(
            f"{setting}: {name} makes {given} and no {', '.join(missing)}, which this model needs; "
            f"expected {expected}"
        )
    kind, wanted = _wanted(pixels, adapter, config)
    found = tuple(pixels.shape[-len(wanted) :])
    if wanted and found != wanted:
        given, taken = (" x ".join(map(str, size)) for size in (found, wanted))
        raise UserError(
            f"{setting}: {name} makes {kind} of {given} values, and the vision tower takes {taken}; "
            f"expected {expected}"
        )


def _wanted(pixels: Tensor, adapter: type[ModelAdapter], config: Any) -> tuple[str, tuple[int, ...]]:
    """Return what ``pixels`` hold, and the size that the tower takes: values of a patch, or (height, width).

    The size is empty for pictures of any size.
    """
    if pixels.ndim == 2:
        return "patches", (adapter.tower_shape(config).patch,)
    if adapter.tokens_per_crop(config) is None:
        return "pictures", ()
    size = config.vision_config.image_size
    return "pictures", (size, size) if isinstance(size, int) else tuple(size)

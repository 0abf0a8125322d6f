"""Check that a checkpoint's image processor makes what its vision tower takes, before weights are loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from PIL import Image

from script_exp.errors import UserError
from script_exp.models.families.adapter import ModelAdapter, Visual

_SIDE = 56
"""Pixels along the picture that is tried."""
_ERRORS = (
    ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError, UserError,
)  # fmt: skip
"""What processors of other families raise."""


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
    except _ERRORS as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{setting}: {name} does not fit this model ({why}); expected {expected}") from error
    if {*made} != {*adapter.inputs}:
        given, taken = ", ".join(made), ", ".join(adapter.inputs)
        raise UserError(f"{setting}: {name} makes {given}, and this model takes {taken}; expected {expected}")
    kind, wanted = _wanted(adapter, config)
    found = tuple(pixels.shape[-len(wanted) :])
    if wanted and found != wanted:
        given, taken = (" x ".join(map(str, size)) for size in (found, wanted))
        raise UserError(
            f"{setting}: {name} makes {kind} of {given} values, and the vision tower takes {taken}; "
            f"expected {expected}"
        )


def _wanted(adapter: type[ModelAdapter], config: Any) -> tuple[str, tuple[int, ...]]:
    """Return what the tower takes, and in which size: values of a patch, or (height, width) of a picture.

    The size is empty for pictures of any size.
    """
    if hasattr(config.vision_config, "temporal_patch_size"):
        return "patches", (adapter.tower_shape(config).patch,)
    if adapter.tokens_per_crop(config) is None:
        return "pictures", ()
    size = config.vision_config.image_size
    return "pictures", (size, size) if isinstance(size, int) else tuple(size)

"""The sizes of a vision tower that its operations follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TowerShape:
    """A transformer over patches: attention with four projections, and an MLP of two layers, or gated.

    Attributes:
        width: d, the width of the tower.
        mlp: m, the width inside the MLP.
        layers: number of layers that run.
        patch: values of one patch: channels * frames * height * width.
        crop: patches of one crop; None for towers that take pictures of any size.
        has_class: whether a class token runs in front of the patches.
        has_head: whether SigLIP's pooling head runs behind the layers.
        gated: whether the MLP has a third matrix.
        mixes_images: whether one attention spans the patches of all images of a call.
        windowed: number of layers whose attention spans a window and not the whole frame.
        window: patches along a window; those at the right and bottom edges are cut off.
    """

    width: int
    mlp: int
    layers: int
    patch: int
    crop: int | None = None
    has_class: bool = False
    has_head: bool = False
    gated: bool = False
    mixes_images: bool = False
    windowed: int = 0
    window: int = 0

    @classmethod
    def of_square(cls, vision: Any, *, has_class: bool = False) -> TowerShape:
        """Return the shape of CLIP's or SigLIP's tower, which takes square crops, from its config."""
        return cls(
            vision.hidden_size,
            vision.intermediate_size,
            vision.num_hidden_layers,
            patch=vision.num_channels * vision.patch_size**2,
            crop=(vision.image_size // vision.patch_size) ** 2,
            has_class=has_class,
            has_head=bool(getattr(vision, "vision_use_head", False)),
        )

    @property
    def crop_patches(self) -> int:
        """Patches of one crop.

        Raises:
            ValueError: for a tower that takes pictures of any size.
        """
        if self.crop is None:
            raise ValueError("this tower takes pictures of any size")
        return self.crop

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
        gated: whether the MLP has a third matrix.
        mixes_images: whether one attention spans the patches of all images of a call.
    """

    width: int
    mlp: int
    layers: int
    patch: int
    crop: int | None = None
    has_class: bool = False
    gated: bool = False
    mixes_images: bool = False

    @classmethod
    def of_square(cls, vision: Any) -> TowerShape:
        """Return the shape of a tower without a class token that takes square crops, from its config."""
        return cls(
            vision.hidden_size,
            vision.intermediate_size,
            vision.num_hidden_layers,
            patch=vision.num_channels * vision.patch_size**2,
            crop=(vision.image_size // vision.patch_size) ** 2,
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

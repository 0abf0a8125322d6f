"""The adapter interface of model families."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.errors import UserError
from script_exp.models.families.crops import projector_seen, square_grid
from script_exp.models.families.encoded import SEPARATOR, EncodedImage, Visual
from script_exp.models.families.traits import FamilyTraits
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.tower_layers import bare_tower
from script_exp.models.tower_signals import tower_signals
from script_exp.pruners.contract.signals import Signal

__all__ = ["SEPARATOR", "EncodedImage", "ModelAdapter", "Visual", "projector_seen", "square_grid"]


class ModelAdapter(FamilyTraits):
    """The differences between model families, one subclass per file. The framework uses only this interface.

    Attributes:
        video: the adapter for the same models on videos, if they take both.
    """

    video: ClassVar[type[ModelAdapter] | None] = None

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def taking(cls, modality: str) -> type[ModelAdapter]:
        """Return the family's adapter for a modality; this one if there is no other."""
        return cls.video if modality == "video" and cls.video is not None else cls

    @property
    def llm(self) -> Any:
        """The decoder, with ``layers`` and ``config``."""
        return self.model.model.language_model

    @property
    def placeholder_id(self) -> int:
        """Id of the token that is repeated once for every visual token."""
        return self.placeholder_of(self.model.config)

    @property
    def post_layernorm(self) -> nn.Module:
        """CLIP's normalization between the vision tower and the visual projection."""
        return bare_tower(self.model).post_layernorm  # type: ignore[no-any-return]

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        """Return the pixels of the images of each row of a batch, with the sizes that the model needs."""
        flat = [visual for row in visuals for visual in row]
        return dict(image_processor(flat, return_tensors="pt")) if flat else {}

    @abstractmethod
    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        """Return the number of prompt rows of each image of a processed batch, in order."""

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        """Return what stands for each image of a processed batch: placeholders, and the words among them."""
        return [placeholder * length for length in self.lengths(inputs)]

    def pixels_of(self, inputs: dict[str, Tensor], images: Sequence[EncodedImage]) -> list[Tensor]:
        """Return the pixels of each image of a processed batch, without what pads them."""
        pixels = inputs[self.inputs[0]]
        if images[0].grid is not None:  # towers for images of any size get all patches in one tensor
            return list(torch.split(pixels, [math.prod(image.grid or ()) for image in images]))
        return [
            one if one.ndim == 3 else one[: image.crops] for one, image in zip(pixels, images, strict=True)
        ]

    @abstractmethod
    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        """Run the tower and the projector over the images of a processed batch, in the order of the prompt.

        Args:
            inputs: pixels and sizes, on the model's device.
            encoder: embeds the patches in the query encoder's space; None if no pruner needs it.
            signals: what else to read of the tower.
        """

    def reading(self, signals: Collection[Signal]) -> AbstractContextManager[Mapping[Signal, Tensor]]:
        """Return :func:`tower_signals` of a tower for crops of one size."""
        has_class = self.tower_shape(self.model.config).has_class
        return tower_signals(self.model, signals, self.tower_names, has_class=has_class)

    def encode_smaller(self, inputs: dict[str, Tensor], budget: int | float) -> list[EncodedImage]:
        """Encode the images of a processed batch made smaller, so that ``budget`` tokens of a crop remain.

        Each token stands at all places of the whole picture that it covers; ``visual.smaller`` is set.

        Raises:
            UserError: if the family does not support it.
        """
        raise UserError(f"pictures cannot be made smaller for {type(self).__name__}")

    def token_grid(self, processed: dict[str, Tensor]) -> tuple[int, int] | None:
        """Return (rows, columns) of the tokens in each crop of one processed image, padding included."""
        tokens = self.tokens_per_crop(self.model.config)
        return None if tokens is None else square_grid(tokens)

    def pictures(self, image_processor: Any, processed: dict[str, Tensor]) -> np.ndarray:
        """Return what the tower sees of one processed image: (crops, height, width, 3) bytes."""
        crops = processed[self.inputs[0]].float().flatten(0, -4).permute(0, 2, 3, 1)
        mean, std = (torch.tensor(getattr(image_processor, f"image_{name}")) for name in ("mean", "std"))
        return ((crops * std + mean) * 255).round().clamp(0, 255).byte().numpy()

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        """Return keyword arguments that pass ``features``, (length, d) per image, in place of pixels.

        ``deep`` are the same rows of :attr:`EncodedImage.deep`; empty for models that add nothing.
        """
        return {"mm_encoder_outputs": {self.modality: BaseModelOutputWithPooling(pooler_output=features)}}

    def more_arguments(self, ids: Tensor) -> dict[str, Tensor]:
        """Return what else the model needs for a prompt ``ids`` (batch, length) as it is run."""
        return {}

    def forward_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``forward`` that do what ``arguments`` do in ``generate``."""
        return arguments

    def blocks(self, arguments: dict[str, Any]) -> Tensor | None:
        """Return the blocks of a prompt's tokens that see each other in both directions.

        (batch, length) numbers, -1 for tokens that see only what stands before them; None if all do.
        """
        return None

    def position_ids(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return position ids (axes, batch, length) of the whole prompt if the model does more than count.

        None for models that count; their positions can be made contiguous after pruning.
        """
        return None

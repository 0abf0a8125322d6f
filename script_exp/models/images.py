"""What a model family's adapter tells about the images of a batch, and the adapter contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.pruners.base import VisualTokens


@dataclass(frozen=True)
class EncodedImage:
    """One image after the vision tower and the projector.

    Attributes:
        visual: what a pruner sees.
        packed: (length, d) the rows that stand for this image in the prompt, in order, before pruning.
    """

    visual: VisualTokens
    packed: Tensor


class ModelAdapter(ABC):
    """What differs between model families. One subclass a file; the rest of the framework knows only this."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    @abstractmethod
    def llm(self) -> Any:
        """The decoder, with ``layers`` and ``config``."""

    @property
    @abstractmethod
    def tower_width(self) -> int:
        """Width of the vision tower's features."""

    @property
    @abstractmethod
    def image_token_id(self) -> int:
        """Id of the placeholder that stands for one visual token."""

    @abstractmethod
    def encode_images(
        self, inputs: dict[str, Tensor], encoder: ClipQueryEncoder | None
    ) -> list[EncodedImage]:
        """Run the tower and the projector over the images of a processed batch, in the order of the prompt.

        Args:
            inputs: what the processor returned, on the model's device.
            encoder: embeds the patches in the joint space; None if no pruner asks for it.
        """

    @abstractmethod
    def encoder_outputs(self, features: list[Tensor]) -> dict[str, Any]:
        """Keyword arguments that give the model ``features``, one (length, d) per image, for its pixels."""

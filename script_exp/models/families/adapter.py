"""The adapter interface of model families, and the encoded image that it returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.benchmarks.reading.frame_count import FrameCount
from script_exp.errors import UserError
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_layers import bare_tower
from script_exp.models.tower_signals import check_signals
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.pruner import VisualTokens
from script_exp.pruners.contract.signals import Reads, Signal

Visual: TypeAlias = Image.Image | Sequence[Image.Image]
"""What one placeholder of a prompt stands for: an image, or the frames of a video."""

SEPARATOR = -1


@dataclass(frozen=True)
class EncodedImage:
    """One image (or video) after the vision tower and the projector.

    Attributes:
        visual: what a pruner sees; a video's frames are its crops.
        packed: (length, d) the rows that stand for this image in the prompt, in order, before pruning.
        source: (length,) for every packed row the index of its token in ``visual.projected`` flattened over
            crops, or ``SEPARATOR`` for a row that the model puts between tokens (newline). Tokens that the
            model leaves out of the prompt (padding of the picture) have no row.
        crops: number of encoded crops.
        budget_crops: the number that the budget is multiplied by: the crops of ``visual``, or, if the model
            merges all crops into one, the number of crops that this one fills.
        grid: (time, rows, columns) of patches before merging that went through the tower, for towers that
            take images of any size.
    """

    visual: VisualTokens
    packed: Tensor
    source: Tensor
    crops: int
    budget_crops: int
    grid: tuple[int, int, int] | None = None

    def keep(self, kept: Kept, separators: bool) -> tuple[Tensor, Tensor]:
        """Return the rows that remain and their features.

        Args:
            kept: what a pruner kept of ``visual``. Tokens that the model leaves out of the prompt are lost
                from the budget.
            separators: whether separators stay.

        Returns:
            (length,) bool, and the features (rows, d). The aggregated tokens of a merging method come last,
            in place of the last dropped rows, or first (:attr:`Kept.leading`), in place of the first dropped
            ones; where padding leaves fewer of these, the last ones are lost.
        """
        device, is_token = self.packed.device, self.source != SEPARATOR
        slot = torch.full((kept.crops * kept.n,), -1, device=device)  # place of a token among the kept ones
        slot[kept.places] = torch.arange(len(kept.places), device=device)
        wanted = torch.where(is_token, slot[self.source.clamp(min=0)], -1)
        rows = torch.where(is_token, wanted >= 0, torch.tensor(separators, device=device))
        left = rows.nonzero()[:, 0]  # waits for the device: how many rows remain decides the prompt's length
        own = kept.rows[wanted[left].clamp(min=0)]
        features = torch.where(is_token[left, None], own, self.packed[left])
        if not len(kept.first) and not len(kept.last):
            return rows, features
        free = (~rows & is_token).nonzero()[:, 0]  # waits again, for methods that merge
        first = kept.first[: len(free)]
        last = kept.last[: len(free) - len(first)]
        rows[free[: len(first)]] = True
        rows[free[len(free) - len(last) :]] = True
        features = torch.cat([first, features, last])
        return rows, features

    def to(self, device: torch.device) -> EncodedImage:
        """Return a copy on another device."""
        return replace(
            self,
            visual=self.visual.map(lambda tensor: tensor.to(device)),
            packed=self.packed.to(device),
            source=self.source.to(device),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors; shared storage counts once."""
        tensors = [*self.visual.tensors().values(), self.packed, self.source]
        storages = {tensor.untyped_storage() for tensor in tensors}
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


class ModelAdapter(ABC):
    """The differences between model families, one subclass per file. The framework uses only this interface.

    Attributes:
        modality: ``image`` or ``video``; key of the encoder's output in ``mm_encoder_outputs``.
        video: the adapter for the same models on videos, if they take both.
        variable_size: whether images of different size give different numbers of tokens per crop. If so, an
            image with fewer tokens than the budget keeps all of them; otherwise that is an error.
        has_separators: whether the model puts its own tokens between the visual ones.
        counts_positions: whether positions count the tokens, so that they can be renumbered when some go.
        shrinks: whether the tower takes pictures made smaller (:meth:`encode_smaller`).
        has_projector: whether every image has tower features and a projector, as aggregated tokens need.
        inputs: names of the image tensors in a processed batch, pixels first.
        default_rules: the rules that suit the family's released checkpoints.
        frames: frames per video if the checkpoint's config does not say; None for images.
        lmms_name: key under which lmms-eval's video tasks keep the wording for the family.
    """

    modality: ClassVar[str] = "image"
    video: ClassVar[type[ModelAdapter] | None] = None
    variable_size: ClassVar[bool] = False
    has_separators: ClassVar[bool] = False
    counts_positions: ClassVar[bool] = True
    shrinks: ClassVar[bool] = False
    has_projector: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    default_rules: ClassVar[PruningRules] = PruningRules()
    frames: ClassVar[FrameCount | None] = None
    lmms_name: ClassVar[str] = "default"

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def taking(cls, modality: str) -> type[ModelAdapter]:
        """Return the family's adapter for a modality; this one if there is no other."""
        return cls.video if modality == "video" and cls.video is not None else cls

    @classmethod  # noqa: B027 - most families come with one tower only
    def check_config(cls, config: Any) -> None:
        """Raise a :class:`SettingError` for a config of the family's ``model_type`` that the adapter does not
        fit.
        """

    @classmethod  # noqa: B027 - most families permit every choice
    def check_rules(cls, rules: PruningRules) -> None:
        """Raise a :class:`SettingError` for a choice that the family does not support."""

    @property
    def llm(self) -> Any:
        """The decoder, with ``layers`` and ``config``."""
        return self.model.model.language_model

    @classmethod
    def check_reads(cls, reads: Reads, config: Any) -> None:
        """Raise a :class:`UserError` for something that a method reads and the model cannot give."""
        if reads.smaller_to is not None and not cls.shrinks:
            raise UserError(
                f"pictures cannot be made smaller for {cls.__name__}: expected a method that prunes tokens"
            )
        cls.check_signals(reads.signals, config)

    @classmethod
    def check_signals(cls, signals: Collection[Signal], config: Any) -> None:
        """Raise a :class:`UserError` for a signal that the tower does not have."""
        check_signals(signals, config)

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        """Return the id of the token that is repeated once for every visual token."""
        return int(config.image_token_id)

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

    @classmethod
    @abstractmethod
    def tokens_per_crop(cls, config: Any) -> int | None:
        """Return the visual tokens of one crop; None if they depend on the image."""

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load a checkpoint's image processor as in its official evaluation, without torchvision."""
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)

    @abstractmethod
    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        """Return the number of prompt rows of each image of a processed batch, in order."""

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

    def encode_smaller(self, inputs: dict[str, Tensor], budget: int | float) -> list[EncodedImage]:
        """Encode the images of a processed batch made smaller, so that ``budget`` tokens of a crop remain.

        Each token stands at all places of the whole picture that it covers; ``visual.smaller`` is set.

        Raises:
            UserError: if the family does not support it.
        """
        raise UserError(f"pictures cannot be made smaller for {type(self).__name__}")

    def pictures(self, image_processor: Any, processed: dict[str, Tensor]) -> np.ndarray | None:
        """Return what the tower sees of one processed image: (crops, height, width, 3) bytes.

        None for towers that take patches instead of pictures.
        """
        pixels = processed[self.inputs[0]]
        if pixels.ndim < 4:
            return None
        crops = pixels.float().flatten(0, -4).permute(0, 2, 3, 1)
        mean, std = (torch.tensor(getattr(image_processor, f"image_{name}")) for name in ("mean", "std"))
        return ((crops * std + mean) * 255).round().clamp(0, 255).byte().numpy()

    def encoder_outputs(self, features: list[Tensor]) -> dict[str, Any]:
        """Return keyword arguments that pass ``features``, (length, d) per image, in place of pixels."""
        return {"mm_encoder_outputs": {self.modality: BaseModelOutputWithPooling(pooler_output=features)}}

    def position_ids(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return position ids (axes, batch, length) of the whole prompt if the model does more than count.

        None for models that count; their positions can be made contiguous after pruning.
        """
        return None


def square_grid(tokens: int) -> tuple[int, int] | None:
    """Return (rows, columns) of a square crop's tokens; None if there is a class token among them."""
    side = math.isqrt(tokens)
    return (side, side) if side**2 == tokens else None


def square_patches(config: Any) -> int:
    """Return the patches of one square crop."""
    return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2


@contextmanager
def projector_seen(projector: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the input (``tower``) and output (``projected``) of a projector while it runs."""
    seen: dict[str, Tensor] = {}

    def keep(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen["tower"], seen["projected"] = args[0], output

    handle = projector.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()

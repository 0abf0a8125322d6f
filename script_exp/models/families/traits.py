"""What a model's config alone says about its family: an adapter's class attributes and class methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from transformers import AutoImageProcessor

from script_exp.benchmarks.reading.frame_count import FrameCount
from script_exp.errors import SettingError, UserError
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.models.tower_signals import CLIP_NAMES, TowerNames, check_signals
from script_exp.pruners.contract.signals import Reads, Signal


class FamilyTraits(ABC):
    """The part of an adapter that needs no model in memory.

    Attributes:
        modality: ``image`` or ``video``; mostly the key of the encoder's output in ``mm_encoder_outputs``.
        variable_size: whether images of different size give different numbers of tokens per crop. If so, an
            image with fewer tokens than the budget keeps all of them; otherwise that is an error.
        has_separators: whether tokens of the model, or words (``row_ends``), stand between the visual ones.
        row_ends: words between the rows of an image's placeholders, which the setting ``newline`` is about.
        counts_positions: whether positions count the tokens, so that they can be renumbered when some go.
        sees_ahead: whether tokens of a prompt see later ones (:meth:`ModelAdapter.blocks`).
        blocks_in_window: whether a sliding window also hides tokens of one block from each other.
        gates_attention: whether a decoder's q_proj also gives a gate, as wide, behind the query of each head.
        shrinks: whether the tower takes pictures made smaller (:meth:`ModelAdapter.encode_smaller`).
        has_projector: whether every image has tower features and a projector, as aggregated tokens need.
        adds_words: whether an image has words among its placeholders (:meth:`ModelAdapter.texts`).
        image_words: regular expression of such words that a tokenizer may not skip as special.
        adds_start: whether a prompt begins with what the tokenizer puts in front of texts.
        word_ids: such words that are single tokens, and their ids in the released tokenizers.
        inputs: names of the image tensors in a processed batch, pixels first.
        pixels_only: those of ``inputs`` besides the first that no prompt needs once an image is encoded.
        on_host: those of ``inputs`` that only lay out the prompt: on a GPU, every read would wait for it.
        default_rules: the rules that suit the family's released checkpoints.
        conversations: what may wrap a question: the checkpoint's own template, or LLaVA's conversation.
        template_settings: variables that the checkpoint's template gets, if it should not do its default.
        tower_names: what a tower for crops of one size calls its parts.
        whole: classes of modules that no device boundary may cut, besides those that transformers names.
        frames: frames per video if the checkpoint's config does not say; None for images.
        lmms_name: key under which lmms-eval's video tasks keep the wording for the family.
    """

    modality: ClassVar[str] = "image"
    variable_size: ClassVar[bool] = False
    has_separators: ClassVar[bool] = False
    row_ends: ClassVar[tuple[str, ...]] = ()
    counts_positions: ClassVar[bool] = True
    sees_ahead: ClassVar[bool] = False
    blocks_in_window: ClassVar[bool] = False
    gates_attention: ClassVar[bool] = False
    shrinks: ClassVar[bool] = False
    has_projector: ClassVar[bool] = True
    adds_words: ClassVar[bool] = False
    image_words: ClassVar[str] = ""
    adds_start: ClassVar[bool] = True
    word_ids: ClassVar[Mapping[str, int]] = {}
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    pixels_only: ClassVar[tuple[str, ...]] = ()
    on_host: ClassVar[tuple[str, ...]] = ()
    default_rules: ClassVar[PruningRules] = PruningRules()
    conversations: ClassVar[tuple[str, ...]] = ("chat_template", "vicuna_v1")
    template_settings: ClassVar[Mapping[str, Any]] = {}
    tower_names: ClassVar[TowerNames] = CLIP_NAMES
    whole: ClassVar[tuple[str, ...]] = ()
    frames: ClassVar[FrameCount | None] = None
    lmms_name: ClassVar[str] = "default"

    @property
    def content_type(self) -> str:
        """Type of an image or a video in the messages that the chat template takes."""
        return self.modality

    @classmethod  # noqa: B027 - most families come with one tower only
    def check_config(cls, config: Any) -> None:
        """Raise a :class:`SettingError` for a config of its ``model_type`` that the adapter does not fit."""

    @classmethod  # noqa: B027 - most families permit every choice
    def check_rules(cls, rules: PruningRules) -> None:
        """Raise a :class:`SettingError` for a choice that the family does not support."""

    @classmethod
    def check_reads(cls, reads: Reads, config: Any) -> None:
        """Raise a :class:`UserError` for something that a method reads and the model cannot give."""
        if reads.smaller_to is not None and not cls.shrinks:
            why = f"pictures cannot be made smaller for {cls.__name__}"
            raise UserError(f"{why}: expected a method that prunes tokens")
        cls.check_signals(reads.signals, config)

    @classmethod
    def check_signals(cls, signals: Collection[Signal], config: Any) -> None:
        """Raise a :class:`UserError` for a signal that the tower does not have."""
        check_signals(signals, config, has_class=cls.tower_shape(config).has_class)

    @classmethod
    def placeholder_of(cls, config: Any) -> int:
        """Return the id of the token that is repeated once for every visual token."""
        return int(config.image_token_id)

    @classmethod
    def mark_of(cls, tokenizer: Any, config: Any) -> str:
        """Return what the chat template writes where an image belongs; in most families the placeholder."""
        return str(tokenizer.convert_ids_to_tokens(cls.placeholder_of(config)))

    @classmethod
    def template_text(cls, tokenizer: Any, config: Any) -> str:
        """Return the mark with what the released chat templates write around it."""
        return cls.mark_of(tokenizer, config)

    @classmethod
    def words_of(cls, config: Any) -> Mapping[str, int]:
        """Return the words around and among placeholders that are single tokens, with a config's ids."""
        return cls.word_ids

    @classmethod
    @abstractmethod
    def tokens_per_crop(cls, config: Any) -> int | None:
        """Return the visual tokens of one crop; None if they depend on the image."""

    @classmethod
    @abstractmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        """Return the sizes of the vision tower that its operations follow from."""

    @classmethod
    @abstractmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        """Count what stands between the tower and the LLM for so many patches; 2 per multiply-accumulate."""

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load a checkpoint's image processor as in its official evaluation, without torchvision."""
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        """Build the image processor of the family's released checkpoints at the size of a config's tower.

        Raises:
            SettingError: if the family does not say which one it is.
        """
        expected = f"pretrained: {cls.__name__} builds no image processor (random_image_processor)"
        raise SettingError("model.weights", "random", expected)

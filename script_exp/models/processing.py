"""Turn images and texts into the tensors of a batch: prompts, pixels and placeholders.

Hugging Face's processor classes do the same, but those of the video-capable families cannot be built without
torchvision, even for images only. So this module uses their parts: the image processor, the tokenizer and the
chat template.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from script_exp.errors import DataError, SettingError, UserError
from script_exp.models.conversations import WRITTEN
from script_exp.models.families.adapter import ModelAdapter, Visual
from script_exp.models.positions import positions_of


@dataclass(frozen=True)
class Processing:
    """The parts of a processor.

    Attributes:
        tokenizer: the LLM's tokenizer.
        image_processor: makes the pixel tensors.
        placeholder: text of the token that stands for one visual token.
        mark: what a prompt has in place of an image before it is filled in; in most families the placeholder.
        chat_template: Jinja; None if the checkpoint has none.
        row_ends: ids of the family's ``row_ends``.
        conversation: ``chat_template``, or a name in ``WRITTEN``.
        adds_start: whether the tokenizer puts its start token in front of a prompt.
        template_settings: variables of the chat template.
    """

    tokenizer: Any
    image_processor: Any
    placeholder: str
    mark: str
    chat_template: str | None
    row_ends: tuple[int, ...] = ()
    conversation: str = "chat_template"
    adds_start: bool = True
    template_settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, processor: Any, adapter: ModelAdapter) -> Processing:
        """Take the parts from the user's Hugging Face processor."""
        return cls.from_parts(
            processor.tokenizer,
            processor.image_processor,
            adapter,
            adapter.model.config,
            getattr(processor, "chat_template", None),
        )

    @classmethod
    def from_parts(
        cls,
        tokenizer: Any,
        image_processor: Any,
        family: ModelAdapter | type[ModelAdapter],
        config: Any,
        chat_template: str | None,
    ) -> Processing:
        """Add what the family and the model's config say of placeholders.

        Raises:
            UserError: if the tokenizer lacks the placeholder or a word of the family.
        """
        image = family.placeholder_of(config)
        placeholder = tokenizer.convert_ids_to_tokens(image)
        if placeholder is None:
            raise UserError(f"the tokenizer has no token {image}: expected the one of the checkpoint")
        mark = family.mark_of(tokenizer, config)
        ends = tuple(tokenizer.convert_tokens_to_ids(word) for word in family.row_ends)
        for word, token in zip(family.row_ends, ends, strict=True):
            if token in (None, tokenizer.unk_token_id):
                raise UserError(f"the tokenizer has no token {word}: expected the one of the checkpoint")
        return cls(
            tokenizer,
            image_processor,
            placeholder,
            mark,
            chat_template,
            ends,
            adds_start=family.adds_start,
            template_settings=family.template_settings,
        )

    def check(self) -> None:
        """Raise a :class:`SettingError` if the conversation is a chat template and there is none."""
        if self.conversation == "chat_template" and not (self.chat_template or self.tokenizer.chat_template):
            raise SettingError(
                "model.conversation", self.conversation, "vicuna_v1: the checkpoint has no chat template"
            )

    def check_text(self, text: str, config: Any) -> None:
        """Check that a question with its instructions can be asked.

        Args:
            text: the question.
            config: config of the model.

        Raises:
            DataError: if it has a word that the tokenizer reads as a sign of its own, such as ``<image>``,
                which stands for an image, or ``</s>``, which ends an answer; or more tokens than the LLM has
                positions.
        """
        for word in (self.placeholder, self.mark, *_signs(self.tokenizer)):
            if word in text:
                raise DataError(f"the question has {word}, which the model reads as a sign and not as text")
        there = positions_of(config)
        if len(text.encode()) > there:  # a token has at least one byte
            count = len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
            if count > there:
                raise DataError(f"the question has {count:,} tokens, and the LLM {there:,} positions")

    def prompt(self, text: str, content_type: str, visuals: int = 1) -> str:
        """Return the conversation with a question about ``visuals`` images or videos, which come first.

        ``content_type`` is ``image`` or ``video``, as the chat template names it.
        """
        if self.conversation in WRITTEN:
            own, start = WRITTEN[self.conversation], self.tokenizer.bos_token or ""
            return own.prompt.format(visuals=own.between.join([self.mark] * visuals), start=start, text=text)
        content = [*({"type": content_type} for _ in range(visuals)), {"type": "text", "text": text}]
        return str(
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=self.chat_template,
                add_generation_prompt=True,
                tokenize=False,
                **self.template_settings,
            )
        )

    def batch(
        self, adapter: ModelAdapter, visuals: Sequence[Sequence[Visual]], prompts: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return the tensors of a batch, padded on the left.

        Args:
            adapter: knows how many placeholders an image needs.
            visuals: the images of each row, none or several.
            prompts: one per row, with one :attr:`mark` for each of its images.

        Raises:
            ValueError: if a prompt does not have one mark per image.
        """
        tensors = adapter.process(self.image_processor, visuals)
        texts = iter(adapter.texts(tensors, self.placeholder) if tensors else [])
        return tensors | self.words(prompts, [[next(texts) for _ in images] for images in visuals])

    def pixels(self, adapter: ModelAdapter, visuals: Sequence[Visual]) -> dict[str, Tensor]:
        """Return the pixels of a question's images or videos.

        Raises:
            DataError: if the model does not take them, for example a strip of 1 x 10,000 pixels.
        """
        try:
            return adapter.process(self.image_processor, [visuals])
        except (ValueError, ArithmeticError, UserError) as error:
            firsts = [one if isinstance(one, Image.Image) else one[0] for one in visuals]
            sizes = " and ".join(f"{first.width:,} x {first.height:,}" for first in firsts)
            raise DataError(
                f"the model does not take the {adapter.modality} of {sizes} pixels ({error})"
            ) from error

    def ends_row(self, ids: Tensor) -> Tensor:
        """Return where a prompt's ids are words between the rows of an image's placeholders; bool."""
        found = torch.zeros_like(ids, dtype=torch.bool)
        for token in self.row_ends:
            found |= ids == token
        return found

    def words(self, prompts: Sequence[str], fillings: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """Return the ids and mask of a batch, padded on the left.

        Args:
            prompts: one per row, with one :attr:`mark` for each of its images.
            fillings: for each row, what stands for each of its images (:meth:`ModelAdapter.texts`).

        Raises:
            ValueError: if a prompt does not have one mark per image.
        """
        texts = []
        for prompt, images in zip(prompts, fillings, strict=True):
            before, *parts = prompt.split(self.mark)
            if len(parts) != len(images):
                raise ValueError(f"a prompt has {len(parts)} placeholders for {len(images)} images")
            filled = (filling + part for filling, part in zip(images, parts, strict=True))
            texts.append(before + "".join(filled))
        start = self.tokenizer.bos_token
        has_start = bool(start) and all(text.startswith(start) for text in texts)  # some templates write it
        words = self.tokenizer(
            texts,
            add_special_tokens=self.adds_start and not has_start,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        return {name: words[name] for name in ("input_ids", "attention_mask")}


@lru_cache(maxsize=4)
def _signs(tokenizer: Any) -> tuple[str, ...]:
    """Return the words that a tokenizer turns into single tokens that are no text.

    These are its special tokens, and others with punctuation that were added to its vocabulary, such as
    Qwen's ``<tool_call>``. Added words and blanks are texts like any other.
    """
    added = tokenizer.added_tokens_decoder.values()
    signs = [one.content for one in added if one.special or re.search(r"[^\w\s]", one.content)]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *signs]))


def on_device(
    tensors: dict[str, Tensor], device: torch.device, dtype: torch.dtype, on_host: Collection[str]
) -> dict[str, Tensor]:
    """Return a processed batch on ``device``, floating-point tensors in ``dtype``; ``on_host`` stay there."""
    return {
        name: tensor if name in on_host else tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }

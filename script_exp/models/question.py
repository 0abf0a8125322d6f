"""Read the user's question back from a finished prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from script_exp.errors import UserError
from script_exp.models.processing import Processing
from script_exp.models.prunable import PrunableModel

_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
_THOUGHTS = "<think>"  # some templates open the reply with it; earlier replies have none


def bare_questions(prunable: PrunableModel, input_ids: Tensor) -> list[str]:
    """Return the user's text of each prompt, without placeholders, special tokens and the conversation.

    Raises:
        UserError: if a prompt with an image is in no known conversation, or has several turns.
    """
    tokenizer, placeholder = prunable.processing.tokenizer, prunable.adapter.placeholder_id
    forms = [replace(prunable.processing, conversation=name) for name in prunable.adapter.conversations]
    if prunable.processing.template_settings:  # the user may have left the template's default
        forms.append(replace(prunable.processing, conversation="chat_template", template_settings={}))
    frames = [_frame(form, prunable.adapter.content_type) for form in forms]
    image_words, texts = prunable.adapter.image_words, []
    for ids in input_ids:
        whole = tokenizer.decode(ids[ids != placeholder])
        if image_words:
            text = _without_signs(re.sub(image_words, "", whole), tokenizer).strip()
        else:
            text = tokenizer.decode(ids[ids != placeholder], skip_special_tokens=True).strip()
        found = [
            text.removeprefix(frame.before).removesuffix(frame.after).strip()
            for frame in filter(None, frames)
            if text.startswith(frame.before) and text.endswith(frame.after) and not frame.has_turns(whole)
        ]
        if not found and (ids == placeholder).any():
            raise UserError(
                f"cannot find the question in the prompt {text!r}: expected one turn in the model's chat "
                "template or vicuna_v1, or prune(..., questions=[...])"
            )
        texts.append(min(found, key=len, default=text))
    return texts


def _without_signs(text: str, tokenizer: Any) -> str:
    """Return a text without the words that stand for special tokens."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, "")
    return text


@dataclass(frozen=True)
class _Frame:
    """What a conversation puts around a user's text, as the tokenizer decodes it.

    Attributes:
        before, after: what comes before and after the text, without special tokens.
        system: all that comes before the text, with special tokens.
        reply: the beginning of the model's turn, with special tokens; without thoughts, which templates leave
            out of earlier turns.
    """

    before: str
    after: str
    system: str
    reply: str

    def has_turns(self, whole: str) -> bool:
        """Return whether the model has answered before; the question could then be in any turn."""
        return bool(self.reply) and whole.count(self.reply) - self.system.count(self.reply) > 1


def _frame(processing: Processing, content_type: str) -> _Frame | None:
    if processing.conversation == "chat_template" and not (
        processing.chat_template or processing.tokenizer.chat_template
    ):
        return None
    tokenizer = processing.tokenizer
    parts = processing.prompt(_MARK, content_type).split(_MARK)
    ids = [
        tokenizer(part.replace(processing.mark, ""), add_special_tokens=False)["input_ids"]
        for part in (parts[0], parts[-1])
    ]
    before, after = (tokenizer.decode(part, skip_special_tokens=True).strip() for part in ids)
    system, reply = (tokenizer.decode(part).strip() for part in ids)
    return _Frame(before, after, system, reply.partition(_THOUGHTS)[0].strip())

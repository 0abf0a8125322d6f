"""What wraps a question: the checkpoint's own template, or a conversation that is written here."""

from __future__ import annotations

from typing import NamedTuple


class Conversation(NamedTuple):
    """A prompt with the places ``visuals``, ``start`` (the tokenizer's start token) and ``text``.

    Attributes:
        prompt: the format.
        between: what separates several images.
    """

    prompt: str
    between: str


WRITTEN = {
    # of LLaVA's evaluation, which its published numbers were measured with
    "vicuna_v1": Conversation(
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. USER: {visuals}\n{text} ASSISTANT:",
        between="\n",
    ),
    # of PaliGemma's question answering in English, in which the start token follows the images
    "paligemma": Conversation("{visuals}{start}answer en {text}\n", between=""),
}

CONVERSATIONS = ("chat_template", *WRITTEN)

"""The words of a question that say what to look for, in the LLM's input space."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from script_exp.errors import UserError
from script_exp.models.devices import device_of

# MMTok drops about 45 such words: articles, auxiliaries, pronouns, prepositions, question words.
_FUNCTION_WORDS = (
    "a an the and or of in on at to from by with for about as into is are was were be been being am do does "
    "did have has had can could will would should this that these those it its there what which who whom "
    "whose when where why how please"
)


def content_words(question: str) -> str:
    """Return the words of a question without function words, joined by spaces; all words if none is left.

    Raises:
        UserError: if the question has no word.
    """
    words = re.findall(r"\b\w+\b", question)
    if not words:
        raise UserError("the question has no word: expected a text to compare visual tokens with")
    dropped = _FUNCTION_WORDS.split()
    return " ".join([word for word in words if word.lower() not in dropped] or words)


def embedded_words(model: Any, tokenizer: Any, question: str) -> Tensor:
    """Return the LLM's input embeddings (m, d) of the tokens of a question's content words."""
    ids = tokenizer(content_words(question), add_special_tokens=False)["input_ids"]
    embedding = model.get_input_embeddings()
    embedded: Tensor = embedding(torch.tensor(ids, device=device_of(embedding)))
    return embedded

"""Embed the question and the visual tokens in one space, so that pruners can compare them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from script_exp.errors import UserError
from script_exp.models.devices import device_of


class QueryEncoder(ABC):
    """Embeds questions and visual tokens in one space.

    Attributes:
        width: e, the width of that space.
    """

    width: int

    @abstractmethod
    def embed_text(self, text: str) -> Tensor:
        """Return embeddings (segments, e) of a question, not normalized."""

    @abstractmethod
    def embed_patches(self, tower: Tensor | None, projected: Tensor) -> Tensor:
        """Return embeddings (crops, n, e) of visual tokens, not normalized.

        Args:
            tower: (crops, n, v) features of the vision tower that enter the projector, if there is one.
            projected: (crops, n, d) output of the projector.
        """

    @abstractmethod
    def token_count(self, text: str) -> int:
        """Return how many tokens :meth:`embed_text` runs a network on; 0 if it only looks up embeddings."""


class ClipQueryEncoder(QueryEncoder):
    """CLIP's joint space, with the text side and the projections of the CLIP model that the tower comes from.

    The vision weights are not loaded a second time: patches are embedded from the multimodal model's own
    tower, as visual_projection(post_layernorm(hidden_states[layer])) in float32.

    A question longer than the text tower's context is split into segments, each with its own start and end
    token. A segment's embedding is read at its end token, whatever ``eos_token_id`` the checkpoint's config
    declares. (For the value 2 of old configs, transformers would read at the largest id instead.) The
    official code gives only the first segment a start token and only the last one an end token, so it reads
    the others at position 0. Here no segment is lost.
    """

    def __init__(
        self, text: Any, tokenizer: Any, visual_projection: Tensor, post_layernorm: nn.Module
    ) -> None:
        self._text, self._tokenizer, self._visual_projection = text, tokenizer, visual_projection
        self._post_layernorm = post_layernorm
        self.config = text.config
        self.width = visual_projection.shape[0]
        self.context: int = text.config.max_position_embeddings

    def embed_text(self, text: str) -> Tensor:
        rows = self._segments(text)
        ids = torch.full((len(rows), max(map(len, rows))), self._tokenizer.eos_token_id)
        for row, segment in zip(ids, rows, strict=True):
            row[: len(segment)] = torch.tensor(segment)
        ends = [len(segment) - 1 for segment in rows]
        mask = (torch.arange(ids.shape[1]) <= torch.tensor(ends)[:, None]).long()
        device = self._visual_projection.device
        states = self._text.text_model(input_ids=ids.to(device), attention_mask=mask.to(device))[0]
        pooled = torch.stack([row[end] for row, end in zip(states, ends, strict=True)])
        embeddings: Tensor = self._text.text_projection(pooled)
        return embeddings

    def embed_patches(self, tower: Tensor | None, projected: Tensor) -> Tensor:
        if tower is None:
            raise ValueError("CLIP's space needs the features of the vision tower")
        normed = self._post_layernorm(tower).float().to(self._visual_projection.device)
        return nn.functional.linear(normed, self._visual_projection)

    def token_count(self, text: str) -> int:
        return sum(map(len, self._segments(text)))

    def _segments(self, text: str) -> list[list[int]]:
        """Return the ids of each segment, with its start and end token."""
        ids = _ids(self._tokenizer, text)
        inside = self.context - 2
        parts = [ids[start : start + inside] for start in range(0, max(1, len(ids)), inside)]
        return [[self._tokenizer.bos_token_id, *part, self._tokenizer.eos_token_id] for part in parts]


class EmbeddingQueryEncoder(QueryEncoder):
    """The LLM's input space, for models whose vision tower has no text tower.

    A visual token is compared as it enters the LLM (for Qwen2.5-VL after the patch merger). A question is the
    input embeddings of its tokens, one segment per token. CDPruner's author describes this for Qwen2.5-VL
    (issue 7 of its repository). Script's code does not cover such models.
    """

    def __init__(self, embedding: nn.Module, tokenizer: Any, width: int) -> None:
        self._embedding, self._tokenizer, self.width = embedding, tokenizer, width

    def embed_text(self, text: str) -> Tensor:
        ids = torch.tensor(_ids(self._tokenizer, text), dtype=torch.long)
        if not len(ids):
            raise UserError("the question is empty: expected a text to compare visual tokens with")
        embeddings: Tensor = self._embedding(ids.to(device_of(self._embedding))).float()
        return embeddings

    def embed_patches(self, tower: Tensor | None, projected: Tensor) -> Tensor:
        return projected.float()

    def token_count(self, text: str) -> int:
        return 0


def _ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a question, in which no word is a special token, such as CLIP's end of text."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]
    return ids

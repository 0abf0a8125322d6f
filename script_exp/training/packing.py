"""Pack many questions about one image into one sequence; each attends only to the image and itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

from script_exp.shapes.world import Question
from script_exp.training.precision import matrix_dtype, mixed_precision
from script_exp.training.vocabulary import BEGIN, END, PAD, encode

BEFORE_IMAGE = (BEGIN, *encode("user:"))
_MASKED, _IGNORED = -1e4, -100
_SHORT = 36  # visual tokens of the smallest windows


@dataclass(frozen=True)
class Packed:
    """Language model inputs of one batch; ``length`` is the text after the image, ``total`` everything.

    Attributes:
        embeddings: (batch, total, width).
        positions: (batch, total): the positions of every question restart right after the image.
        mask: (batch, 1, total, total) additive.
        labels: (batch, length): the next token where it belongs to an answer, -100 elsewhere.
    """

    embeddings: Tensor
    positions: Tensor
    mask: Tensor
    labels: Tensor


def pack(
    llava: LlavaForConditionalGeneration | LlavaNextForConditionalGeneration,
    visual: Tensor,
    places: Tensor,
    asked: list[list[Question]],
) -> Packed:
    """Pack visual tokens (batch, kept, width), followed by the questions about each image.

    Args:
        llava: provides the word embeddings.
        visual: the visual tokens after the projector.
        places: (batch, kept) position ids of the visual tokens, from the first position of the image.
        asked: the questions about each image.
    """
    embed = llava.get_input_embeddings()
    known = embed.num_embeddings
    rows = [
        [
            [*encode(question.text, known), *encode("assistant:"), *encode(question.answer, known), END]
            for question in questions
        ]
        for questions in asked
    ]
    length = max(sum(map(len, row)) for row in rows)
    batch, kept = places.shape
    before = len(BEFORE_IMAGE)
    places = places + before
    words = torch.full((batch, length), PAD)
    block = torch.full((batch, length), -1)
    positions = torch.zeros(batch, length, dtype=torch.long)
    labels = torch.full((batch, length), _IGNORED)
    for index, row in enumerate(rows):
        start = 0
        for number, tokens in enumerate(row):
            end = start + len(tokens)
            words[index, start:end] = torch.tensor(tokens)
            block[index, start:end] = number
            positions[index, start:end] = places[index, -1] + 1 + torch.arange(len(tokens))
            labels[index, end - 3 : end - 1] = torch.tensor(tokens[-2:])
            start = end
    prefix = embed(torch.tensor(BEFORE_IMAGE)).expand(batch, -1, -1)
    total = before + kept + length
    allowed = torch.ones(total, total, dtype=torch.bool).tril().repeat(batch, 1, 1)
    allowed[:, before + kept :, before + kept :] &= block[:, :, None] == block[:, None, :]
    mask = torch.zeros(batch, 1, total, total, dtype=matrix_dtype()).masked_fill_(~allowed[:, None], _MASKED)
    return Packed(
        torch.cat([prefix, visual, embed(words)], 1),
        torch.cat([torch.arange(before).expand(batch, -1), places, positions], 1),
        mask,
        labels,
    )


def answer_loss(
    llava: LlavaForConditionalGeneration, features: Tensor, places: Tensor, asked: list[list[Question]]
) -> Tensor:
    """Return the mean cross-entropy of the answer words and the end tokens after them.

    Args:
        llava: its projector and language model are run, its tower is not.
        features: (batch, kept, width) features of the tower.
        places: as in :func:`pack`.
        asked: as in :func:`pack`.
    """
    with mixed_precision():
        visual = llava.model.multi_modal_projector(features.float())
    return language_loss(llava, visual, places, asked)


def language_loss(
    llava: LlavaForConditionalGeneration | LlavaNextForConditionalGeneration,
    visual: Tensor,
    places: Tensor,
    asked: list[list[Question]],
) -> Tensor:
    """As :func:`answer_loss`, from visual tokens (batch, kept, width) after the projector."""
    # Measured on CPU under bf16 autocast: eager is faster for short sequences, sdpa for others.
    llava.model.language_model.set_attn_implementation("eager" if places.shape[1] <= _SHORT else "sdpa")
    with mixed_precision():
        packed = pack(llava, visual, places, asked)
        states = llava.model.language_model(
            inputs_embeds=packed.embeddings,
            position_ids=packed.positions,
            attention_mask=packed.mask,
            use_cache=False,
        ).last_hidden_state[:, -packed.labels.shape[1] :]
        answered = packed.labels >= 0
        logits = llava.lm_head(states[answered])
    return F.cross_entropy(logits.float(), packed.labels[answered])

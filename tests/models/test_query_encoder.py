"""Questions in CLIP's space: embedded as by transformers, or in segments if they are too long."""

from __future__ import annotations

import pytest
import torch
from small_llava import load

from script_exp.tiny import WEIGHTS

WORDS = ["is", "there", "a", "red", "object", "and", "a", "blue", "star", "in", "the", "northwest"]


@pytest.fixture(scope="module")
def encoder():
    return load(WEIGHTS).query_encoder


@torch.inference_mode()
def test_a_short_question_is_embedded_as_transformers_does(encoder):
    ids = encoder._tokenizer(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    assert len(ids) == len(WORDS) == encoder.token_count(" ".join(WORDS)) - 2
    ends = encoder._tokenizer.bos_token_id, encoder._tokenizer.eos_token_id
    wanted = encoder._text(input_ids=torch.tensor([[ends[0], *ids, ends[1]]])).text_embeds
    torch.testing.assert_close(encoder.embed_text(" ".join(WORDS)), wanted)


@torch.inference_mode()
def test_a_long_question_is_the_sum_of_its_segments(encoder):
    """77 positions hold 75 words between a start and an end; no word is lost."""
    words = (WORDS * 20)[:180]
    embeddings = encoder.embed_text(" ".join(words))
    assert embeddings.shape == (3, encoder.width)
    assert encoder.token_count(" ".join(words)) == 180 + 3 * 2
    alone = [encoder.embed_text(" ".join(words[start : start + 75])) for start in (0, 75, 150)]
    torch.testing.assert_close(embeddings, torch.cat(alone))

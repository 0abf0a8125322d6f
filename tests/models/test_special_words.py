"""Questions with words that a tokenizer reads as control tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_llava import load

from script_exp.errors import DataError
from script_exp.models.query_encoder import ClipQueryEncoder, EmbeddingQueryEncoder
from script_exp.tiny import WEIGHTS

SPECIAL = ["<|im_end|>", "<|im_start|>", "<|image_pad|>", "[INST]"]


@pytest.fixture
def tiny():
    """The embedded model, whose tokenizer has signs and words of other families, too."""
    model = load(WEIGHTS)
    tokenizer = type(model.processing.tokenizer).from_pretrained(WEIGHTS)
    tokenizer.add_special_tokens({"extra_special_tokens": SPECIAL})
    tokenizer.add_tokens(["<tool_call>", "colored", "    "])
    model.processing = replace(model.processing, tokenizer=tokenizer)
    return model


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>", "<pad>", "<image>", "<tool_call>", *SPECIAL])
def test_a_sign_in_a_question_is_refused(tiny, word):
    with pytest.raises(DataError) as error:
        tiny.processing.check_text(f"what is {word} in the image", tiny.model.config)
    assert str(error.value) == f"the question has {word}, which the model reads as a sign and not as text"


@pytest.mark.parametrize("text", ["is it colored", "what    is it", "a < b > c | d", "< s > im_end </ s>"])
def test_other_added_words_are_text(tiny, text):
    tiny.processing.check_text(text, tiny.model.config)


def test_every_family_refuses_every_sign_of_its_tokenizer(model):
    words = model.processing.tokenizer.get_added_vocab()
    assert model.processing.placeholder in words
    for word in words:
        with pytest.raises(DataError, match="reads as a sign"):
            model.processing.check_text(f"a{word}b", model.model.config)
    model.processing.check_text("a plain question?", model.model.config)


def test_the_query_encoder_reads_signs_as_text(tiny):
    """Also in ``prune(..., questions=[...])``, where nothing else checks the question."""
    clip = load(WEIGHTS).query_encoder
    assert isinstance(clip, ClipQueryEncoder)
    (ids,) = clip._segments("what </s> is <s> it")
    assert ids[1:-1].count(ids[0]) == ids[1:-1].count(ids[-1]) == 0
    tokenizer = tiny.processing.tokenizer
    table = torch.nn.Embedding(len(tokenizer), 4)
    encoder = EmbeddingQueryEncoder(table, tokenizer, 4)
    signs = {number for word, number in tokenizer.get_added_vocab().items() if word in ("<image>", *SPECIAL)}
    for word in ("<image>", *SPECIAL):
        rows = encoder.embed_text(f"what is {word}")
        assert not any((row == table.weight[sign]).all() for row in rows for sign in signs)
    plain = tokenizer("what is it", add_special_tokens=False)["input_ids"]
    assert torch.equal(encoder.embed_text("what is it"), table.weight[plain])
    assert tokenizer("</s>", add_special_tokens=False)["input_ids"] == [tokenizer.eos_token_id]

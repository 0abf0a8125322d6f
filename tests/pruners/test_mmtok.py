"""MMTok against loops written from its description."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import EVERY, build
from PIL import Image

from script_exp.errors import SettingError, UserError
from script_exp.models.question_words import content_words
from script_exp.pruners import MMTok
from script_exp.pruners.contract.signals import JOINT, Reads
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


def drawn(seed, crops=2, n=20, words=3, tower=True):
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(crops, n, 6, generator=generator)
    own = torch.randn(crops, n, 5, generator=generator) if tower else None
    question = Query(torch.empty(0, 0), words=torch.randn(words, 6, generator=generator))
    return VisualTokens(projected, tower=own), question


def softmax(row):
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def slow(projected, features, words, k, text=0.02, vision=0.2, alpha=0.5, padding=()):
    """One crop, in float64, row by row and pick by pick."""
    rows = [softmax(np.array([cosine(w, p) for p in projected]) / text) / len(words) for w in words]
    rows += [
        alpha * softmax(np.array([cosine(x, y) for y in features]) / vision) / len(features) for x in features
    ]
    best, picks = [0.0] * len(rows), []
    for _ in range(k):
        gains = {
            j: sum(max(0.0, row[j] - have) for row, have in zip(rows, best, strict=True))
            for j in range(len(projected))
            if j not in picks and j not in padding
        }
        picks.append(max(gains, key=lambda j: (gains[j], -j)))
        best = [max(have, row[picks[-1]]) for row, have in zip(rows, best, strict=True)]
    return sorted(picks)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 7, 19])
@pytest.mark.parametrize("tower", [True, False])
def test_it_is_the_slow_reference(seed, k, tower):
    visual, query = drawn(seed, tower=tower)
    kept = MMTok(budget=k)(visual, query).indices.tolist()
    words = query.words.double().numpy()
    for crop, indices in enumerate(kept):
        projected, features = (one[crop].double().numpy() for one in (visual.projected, visual.features))
        assert indices == slow(projected, features, words, k)


def test_padding_is_kept_only_where_nothing_else_is_left():
    """A picture of 4 x 5 tokens, whose first and last row and first column are padding."""
    visual, query = drawn(8)
    padded = [*range(5), 5, 10, *range(15, 20)]
    visual = replace(visual, grid=(4, 5), padding=(1, 1, 1, 0))
    words = query.words.double().numpy()
    for crop, kept in enumerate(MMTok(budget=6)(visual, query).indices.tolist()):
        projected, features = (one[crop].double().numpy() for one in (visual.projected, visual.features))
        assert kept == slow(projected, features, words, 6, padding=padded)
    kept = MMTok(budget=10)(visual, query).indices[0].tolist()
    assert kept == sorted([*range(6, 10), *range(11, 15), 0, 1])


@pytest.mark.parametrize(
    ("size", "padding"),  # of 12 x 12 tokens
    [
        ((30, 60), (3, 3, 0, 0)),
        ((60, 30), (0, 0, 3, 3)),
        ((50, 60), (1, 1, 0, 0)),
        ((53, 60), None),  # less than a row above and below
        ((49, 60), (1, 1, 0, 0)),  # 5 pixels above, 6 below, and a row is 5
        ((1, 60), (5, 6, 0, 0)),  # row 29 of 60 is in the sixth row of tokens
        ((60, 60), None),
    ],
)
def test_llava_knows_the_padding_that_its_processor_added(size, padding, tmp_path):
    model = build("llava", tmp_path)
    assert model.processing.image_processor.do_pad
    visual = model.encode(model.process(Image.new("RGB", size[::-1], "red"))).image.visual
    assert visual.grid == (12, 12)
    assert visual.padding == padding
    if padding is not None:  # what was added is one color: its tokens see the same pixels
        pixels = model.process(Image.new("RGB", size[::-1], "red"))["pixel_values"][0]
        rows, columns = pixels.shape[1] // 12 * padding[0], pixels.shape[2] // 12 * padding[2]
        band = pixels[:, : rows - 4] if rows else pixels[:, :, : columns - 4]
        assert band.std(dim=(1, 2)).max() < 1e-3


def test_settings_are_used():
    visual, query = drawn(5)
    settings = {"text_temperature": 0.5, "vision_temperature": 0.05, "alpha": 2.0}
    kept = MMTok(budget=6, **settings)(visual, query).indices[0].tolist()
    projected, tower = (one[0].double().numpy() for one in (visual.projected, visual.tower))
    assert kept == slow(projected, tower, query.words.double().numpy(), 6, 0.5, 0.05, 2.0)


def test_a_large_alpha_covers_the_image_alone():
    visual, query = drawn(6)
    other = Query(query.embeddings, words=query.words.flip(1))
    kept = [MMTok(budget=5, alpha=1e6)(visual, one).indices for one in (query, other)]
    assert torch.equal(*kept)


def test_one_word_picks_the_most_similar_patch_first():
    visual, query = drawn(7, words=1)
    (pick,) = MMTok(budget=1, alpha=0)(visual, query).indices[0].tolist()
    assert pick == torch.cosine_similarity(query.words, visual.projected[0]).argmax().item()


def test_bad_settings():
    with pytest.raises(SettingError, match="text_temperature=0: expected a number above 0"):
        MMTok(budget=5, text_temperature=0)
    with pytest.raises(SettingError, match="alpha=-1: expected a number of at least 0"):
        MMTok(budget=5, alpha=-1)
    with pytest.raises(ValueError, match="MMTok needs the question's words in the LLM's space"):
        MMTok(budget=5)(drawn(0)[0], Query(torch.ones(1, 6)))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the color of the big dog?", "color big dog"),
        ("Is it?", "Is it"),
        ("T-shirt or coat", "T shirt coat"),
    ],
)
def test_the_words_that_say_what_to_look_for(question, words):
    assert content_words(question) == words


def test_a_question_without_words():
    with pytest.raises(UserError, match="the question has no word"):
        content_words("?!")


@pytest.mark.parametrize("family", EVERY)
def test_words_are_in_the_llms_input_space(family, tmp_path):
    model = build(family, tmp_path)
    (query,) = model.encode_queries(["what is left of it?"], MMTok(budget=1).reads)
    ids = model.processing.tokenizer("left", add_special_tokens=False)["input_ids"]
    embedding = model.model.get_input_embeddings()
    assert torch.equal(query.words, embedding.weight[ids] * getattr(embedding, "embed_scale", 1))  # Gemma's
    assert not query.embeddings.numel()  # no text tower runs
    assert model.encode_queries(["left"], JOINT)[0].words is None
    both = model.encode_queries(["left"], Reads(joint=True, words=True))[0]
    assert both.words is not None
    assert both.embeddings.numel()

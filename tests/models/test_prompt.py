"""Shortening prompts: several images, ragged rows, text-only rows, and mistakes."""

from __future__ import annotations

import pytest
import torch

from script_exp.models.prompt import mark_placeholders, rows_of_images, shorten_prompt

IMAGE, PAD = 9, 0


def shorten(rows, kept, lengths):
    length = max(map(len, rows))
    ids = torch.tensor([[PAD] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    rows_of_images(ids, IMAGE, lengths)
    flags = [torch.arange(total) < count for total, count in zip(lengths, kept, strict=True)]
    short = shorten_prompt(ids, mask, IMAGE, mark_placeholders(ids, IMAGE, flags), PAD)
    assert torch.equal(
        ids.gather(1, short.columns)[short.attention_mask.bool()],
        short.input_ids[short.attention_mask.bool()],
    )
    rows = [
        row[flag.bool()].tolist() for row, flag in zip(short.input_ids, short.attention_mask, strict=True)
    ]
    return rows, short.attention_mask.tolist()


def test_rows_are_padded_anew_on_the_left():
    rows, mask = shorten([[1, 9, 9, 9, 2], [9, 9, 3, 4, 5, 6]], [1, 2], [3, 2])
    assert rows == [[1, 9, 2], [9, 9, 3, 4, 5, 6]]
    assert mask == [[0, 0, 0, 1, 1, 1], [1] * 6]


def test_several_images_and_text_only_rows():
    rows, _ = shorten([[1, 9, 9, 2, 9, 9, 3], [4, 5], [9, 6]], [1, 2, 0], [2, 2, 1])
    assert rows == [[1, 9, 2, 9, 9, 3], [4, 5], [6]]


def test_images_without_text_between_them():
    ids = torch.tensor([[9, 9, 9, 9, 9, 2]])
    assert rows_of_images(ids, IMAGE, [3, 2]) == [0, 0]
    assert shorten([[9, 9, 9, 9, 9, 2]], [1, 2], [3, 2])[0] == [[9, 9, 9, 2]]


def test_rows_know_their_images():
    assert rows_of_images(torch.tensor([[9, 1, 9], [3, 4, 5], [9, 9, 1]]), IMAGE, [1, 1, 2]) == [0, 0, 2]


@pytest.mark.parametrize("lengths", [[], [3, 1], [4], [2]])
def test_images_that_do_not_match_the_prompt(lengths):
    with pytest.raises(ValueError, match=r"images (that )?were encoded"):
        shorten([[1, 9, 9, 9, 2]], [1] * len(lengths), lengths)

"""Shortening prompts: several images, ragged rows, text-only rows, mistakes."""

from __future__ import annotations

import pytest
import torch

from script_exp.models.prompt import shorten_prompt

IMAGE, PAD = 9, 0


def shorten(rows, kept):
    length = max(map(len, rows))
    ids = torch.tensor([[PAD] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    new_ids, new_mask = shorten_prompt(ids, mask, IMAGE, kept, PAD)
    return [row[flag.bool()].tolist() for row, flag in zip(new_ids, new_mask, strict=True)], new_mask.tolist()


def test_rows_are_padded_anew_on_the_left():
    rows, mask = shorten([[1, 9, 9, 9, 2], [9, 9, 3, 4, 5, 6]], [1, 2])
    assert rows == [[1, 9, 2], [9, 9, 3, 4, 5, 6]]
    assert mask == [[0, 0, 0, 1, 1, 1], [1] * 6]


def test_several_images_and_text_only_rows():
    rows, _ = shorten([[1, 9, 9, 2, 9, 9, 3], [4, 5], [9, 6]], [1, 2, 0])
    assert rows == [[1, 9, 2, 9, 9, 3], [4, 5], [6]]


@pytest.mark.parametrize("kept", [[], [1, 1], [4]])
def test_images_that_do_not_match_the_prompt(kept):
    with pytest.raises(ValueError, match="images were encoded"):
        shorten([[1, 9, 9, 9, 2]], kept)

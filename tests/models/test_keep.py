"""What remains of an image's packed rows, on numbers that can be checked by hand."""

from __future__ import annotations

import torch

from script_exp.models.families.adapter import SEPARATOR, EncodedImage
from script_exp.pruners import Kept, VisualTokens


def image(source):
    """Two crops of three tokens, whose features are their places; the packed rows are ``source``."""
    tokens = torch.arange(6.0).view(2, 3, 1)
    packed = torch.tensor(source).float()[:, None]
    return EncodedImage(VisualTokens(tokens), packed, torch.tensor(source), 2, 2)


def kept(places, aggregated=()):
    rows = 10 + torch.tensor(places).float()[:, None]
    return Kept(torch.tensor(places), rows, torch.tensor(aggregated).view(-1, 1), 2, 3)


def test_crops_with_unequal_counts():
    flags, features = image([0, 1, 2, SEPARATOR, 5, 4, 3]).keep(kept([3, 4, 5]), separators=True)
    assert flags.tolist() == [False, False, False, True, True, True, True]
    assert features[:, 0].tolist() == [SEPARATOR, 15, 14, 13]
    assert kept([3, 4, 5]).counts == [0, 3]
    assert kept([3, 4, 5]).indices.tolist() == [[-1, -1, -1], [0, 1, 2]]


def test_aggregated_tokens_take_the_last_dropped_rows():
    flags, features = image([0, 1, 2, SEPARATOR, 3, 4, 5]).keep(kept([1, 4], [7.0, 8.0]), separators=False)
    assert flags.tolist() == [False, True, False, False, True, True, True]
    assert features[:, 0].tolist() == [11, 14, 7, 8]
    assert kept([1, 4], [7.0, 8.0]).counts == [2, 2]


def test_aggregated_tokens_without_room_are_lost():
    """All that was dropped is padding of the picture, but for one token."""
    flags, features = image([1, 2, 3, 4]).keep(kept([1, 2, 4], [7.0, 8.0]), separators=True)
    assert flags.all()
    assert features[:, 0].tolist() == [11, 12, 14, 7]

"""DyCoke's first stage, against a loop over groups of frames."""

from __future__ import annotations

import pytest
import torch
from made_video import KINDS, cosine, made_video

from script_exp.errors import SettingError
from script_exp.pruners import DyCoke


def slow(tokens, total):
    """Of four frames the first whole, of the others the least similar; a rest belongs to the last group."""
    frames, n, _ = tokens.shape
    begins = list(range(0, frames - 3, 4))
    left = total - len(begins) * n
    others = frames - len(begins)
    kept, more = [], left % others if others else 0
    for t in range(frames):
        begin = max(one for one in begins if one <= t)
        if t == begin:
            kept.append(list(range(n)))
            continue
        against = begin if (t - begin) % 2 == 0 else t - 1
        like = [round(cosine(tokens[t, i], tokens[against, i]), 9) for i in range(n)]
        count = left // others + (more > 0)
        more -= 1
        kept.append(sorted(sorted(range(n), key=lambda i: (like[i], i))[:count]))
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    for frames in (8, 4, 7, 9):
        video = made_video(kind, frames)
        for budget in (3, 5, 11, 0.25, 0.61):
            pruner = DyCoke(budget=budget)
            assert pruner(video).by_crop == slow(video.projected, pruner.total_of(frames, 12))


def test_what_is_known_of_made_videos():
    """K = 0.7 of the released code; what changed against its group's first frame; the smallest budget."""
    published = DyCoke(budget=8 * (196 + 3 * 58) / 6272)(made_video("random", 32, 196, 2))
    assert published.counts == [196, 58, 58, 58] * 8
    moved = DyCoke(budget=(12 + 6) / 48)(made_video("moving", 4)).by_crop
    assert moved == [list(range(12)), [0, 1], [0, 2], [2, 3]]  # 2 against 0, 3 against 2
    assert DyCoke(budget=3)(made_video("cut")).counts == [12, 0, 0, 0] * 2
    assert DyCoke(budget=6, group=2)(made_video("cut")).counts == [12, 0] * 4
    assert DyCoke(budget=0.25)(made_video("random", 3)).by_crop == [[0, 1, 2, 4, 5, 6, 8, 9, 10][:9], [], []]


@pytest.mark.parametrize("budget", [2, 0.24])
def test_below_the_whole_frames(budget):
    lowest = 3 if budget == 2 else 0.25
    message = (
        f"budget={budget}: expected at least {lowest}, since one of 4 frames stays whole, or a larger group"
    )
    with pytest.raises(SettingError, match=message):
        DyCoke(budget=budget)(made_video("random"))
    with pytest.raises(SettingError, match="group=1: expected a whole number >= 2"):
        DyCoke(budget=budget, group=1)
    assert torch.is_tensor(DyCoke(budget=budget, group=8)(made_video("random")).places)

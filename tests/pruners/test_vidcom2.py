"""VidCom2, against loops over frames and tokens."""

from __future__ import annotations

import math

import pytest
import torch
from made_video import KINDS, by_remainders, made_video

from script_exp.errors import SettingError
from script_exp.pruners import VidCom2


def typical(x, center):
    distance = float((x - center).square().sum())
    return sum(math.exp(-distance / (2 * width)) for width in (0.125, 0.25, 0.5, 1.0, 2.0))


def slow(tokens, total):
    """The share of every frame, and the tokens kept of each, in double precision."""
    tokens = tokens.double()
    frames, n, width = tokens.shape
    spread = [float(tokens[:, :, c].var()) for c in range(width)]
    channels = sorted(range(width), key=lambda c: spread[c])[: width // 2]
    x = tokens[:, :, channels]
    x = x / x.norm(dim=-1, keepdim=True)
    center = x.reshape(-1, x.shape[-1]).mean(dim=0)
    of_video = [[typical(one, center) for one in frame] for frame in x]
    of_frame = [[typical(one, frame.mean(dim=0)) for one in frame] for frame in x]
    means = [-sum(row) / n / 0.01 for row in of_video]
    weights = [math.exp(mean - max(means)) for mean in means]
    weights = [weight / sum(weights) for weight in weights]
    rate = total / (frames * n)
    shares = [rate * (1 + weight - sum(weights) / frames) * n for weight in weights]
    counts = by_remainders(shares, total, [n] * frames, least=int(total >= frames))
    kept = []
    for t, count in enumerate(counts):
        scores = [a + b for a, b in zip(of_video[t], of_frame[t], strict=True)]
        kept.append(sorted(sorted(range(n), key=lambda i: scores[i])[:count]))
    return shares, kept


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    video = made_video(kind)
    for budget in (1, 3, 8, 0.3, 0.9):
        pruner = VidCom2(budget=budget)
        kept = pruner(video)
        shares, wanted = slow(video.projected, pruner.total_of(8, 12))
        assert kept.by_crop == wanted
        if max(shares) <= 12 and min(shares) >= 1:  # the released count, before it is made to fit the total
            assert all(abs(count - share) < 1 for count, share in zip(kept.counts, shares, strict=True))


def test_what_is_known_of_made_videos():
    """Alike frames keep equally many; a frame unlike the others has twice as many, as far as it can."""
    assert VidCom2(budget=3)(made_video("static")).counts == [3] * 8
    video = made_video("static", n=40)
    odd = torch.randn(40, 10, generator=torch.Generator().manual_seed(9))
    video.projected[5] = odd
    counts = VidCom2(budget=8, temperature=0.0001)(video).counts
    assert (counts[5], sum(counts)) == (15, 64)
    assert set(counts[:5] + counts[6:]) == {7}
    full = VidCom2(budget=30, temperature=0.0001)(video).counts
    assert (full[5], sum(full)) == (40, 240)
    with pytest.raises(SettingError, match=r"channels=0: expected a share of the channels in \(0, 1\]"):
        VidCom2(budget=3, channels=0)

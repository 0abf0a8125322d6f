"""HoliTom's stage before the LLM, against all ways to divide a video and loops over parts."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from made_video import KINDS, by_remainders, clusters_of, cosine, made_video

from script_exp.errors import SettingError
from script_exp.pruners import HoliTom
from script_exp.pruners.contract.signals import SALIENCY
from script_exp.pruners.video.holitom import best_windows


def alike_in(tokens):
    """The cosine of every place with itself one frame before."""
    return [
        [round(cosine(one, other), 9) for one, other in zip(now, before, strict=True)]
        for before, now in pairwise(tokens)
    ]


def static_of(alike, window, tau):
    begin, end = window
    count = len(alike[0]) if end - begin > 1 else 0
    return [i for i in range(count) if all(alike[t][i] > tau for t in range(begin, end - 1))]


def divided(alike, frames, tau):
    """The best of all ways to cut the video: most saved, then the shortest last window, and so on."""
    ways = []
    for cuts in range(frames):
        for places in combinations(range(1, frames), cuts):
            windows = list(pairwise([0, *places, frames]))
            saved = sum(len(static_of(alike, one, tau)) * (one[1] - one[0] - 1) for one in windows)
            ways.append((saved, [begin for begin, _ in reversed(windows)], windows))
    return max(ways)[2]


def slow(video, total, tau):
    """The kept place -> token, in double precision."""
    tokens, saliency = video.projected.double(), video.signals[SALIENCY]
    frames, n, _ = tokens.shape
    alike = alike_in(tokens)
    windows = divided(alike, frames, tau)
    static = {window: static_of(alike, window, tau) for window in windows}

    def left():
        return frames * n - sum(len(own) * (end - begin - 1) for (begin, end), own in static.items())

    while left() < total:
        lowest = min(
            (min(alike[t][i] for t in range(begin, end - 1)), begin * n + i, (begin, end), i)
            for (begin, end), own in static.items()
            for i in own
        )
        static[lowest[2]].remove(lowest[3])
    parts = []
    for begin, end in windows:
        own = static[begin, end]
        mean = tokens[begin:end].mean(dim=0)
        parts.append([(begin * n + i, mean[i]) for i in own])
        for t in range(begin, end):
            parts.append([(t * n + i, tokens[t, i]) for i in range(n) if i not in own])
    sizes = [len(part) for part in parts]
    counts = by_remainders([size * total / sum(sizes) for size in sizes], total, sizes)
    result, number = {}, 0
    for window in windows:
        for member in range(1 + window[1] - window[0]):
            part, count = parts[number], counts[number]
            number += 1
            if not count:
                continue
            if member:
                ranked = sorted(part, key=lambda one: -float(saliency.flatten()[one[0]]))
                result |= dict(ranked[:count])
                continue
            centers, own = clusters_of(torch.stack([token for _, token in part]), count, 7)
            for center in centers:
                others = [part[i][1] for i, c in enumerate(own) if c == center and i != center]
                token = part[center][1]
                if others:
                    token = 0.6 * token + 0.4 * torch.stack(others).mean(dim=0)
                result[part[center][0]] = token
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    video = made_video(kind, frames=6)
    for budget, tau in ((1, 0.8), (3, 0.65), (8, 0.8), (0.45, 0.3)):
        pruner = HoliTom(budget=budget, tau=tau)
        kept, wanted = pruner(video), slow(video, pruner.total_of(6, 12), tau)
        assert kept.places.tolist() == sorted(wanted)
        rows = torch.stack([wanted[place] for place in sorted(wanted)])
        torch.testing.assert_close(kept.rows, rows.float(), atol=1e-5, rtol=1e-5)


def test_what_is_known_of_made_videos():
    """A picture that stands is kept once; a moving thing leaves the rest of the picture static."""
    static = HoliTom(budget=1)(made_video("static", 6))
    assert static.counts == [6, 0, 0, 0, 0, 0]
    whole = HoliTom(budget=2)(made_video("static", 6))
    torch.testing.assert_close(whole.rows, made_video("static", 6).projected[0])
    assert HoliTom(budget=4)(made_video("cut", 6)).counts == [12, 0, 0, 12, 0, 0]
    moving = HoliTom(budget=0.5)(made_video("moving", 6)).counts  # 6 static places; 36 others
    assert sum(moving) == 36
    assert moving[0] > moving[1] == moving[4]
    same = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    assert best_windows(same) == [(0, 3), (3, 5)]
    assert best_windows(torch.zeros(2, 4, dtype=torch.bool)) == [(0, 1), (1, 2), (2, 3)]
    with pytest.raises(SettingError, match=r"own=2: expected a weight in \[0, 1\]"):
        HoliTom(budget=3, own=2)

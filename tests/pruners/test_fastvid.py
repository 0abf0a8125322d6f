"""FastVID, against loops over segments, frames and tokens."""

from __future__ import annotations

import pytest
import torch
from made_video import KINDS, by_remainders, clusters_of, cosine, made_video

from script_exp.errors import SettingError
from script_exp.pruners import FastVID
from script_exp.pruners.arithmetic.segments import by_cuts
from script_exp.pruners.contract.signals import SALIENCY


def cut(tokens, fewest, tau, highest):
    """Segments as lists of frames."""
    means = tokens.double().mean(dim=1)
    alike = [cosine(one, other) for one, other in zip(means[1:], means[:-1], strict=True)]
    lowest = sorted(range(len(alike)), key=lambda t: (round(alike[t], 6), t))[: fewest - 1]
    segments = [[0]]
    for t, value in enumerate(alike):
        if (t in lowest or value < tau) and value <= highest:
            segments.append([])
        segments[-1].append(t + 1)
    return segments


def slow(video, total, segments=8, tau=0.84, highest=0.95):
    """The kept place -> token, in double precision."""
    tokens, saliency = video.projected.double(), video.signals[SALIENCY]
    frames, n, _ = tokens.shape
    budgets = [total // frames + (t < total % frames) for t in range(frames)]
    result = {}
    for segment in cut(tokens, segments, tau, highest):
        context = {t: int(0.4 * budgets[t]) for t in segment}
        salient = {
            t: sorted(range(n), key=lambda i: -float(saliency[t, i]))[: budgets[t] - context[t]]
            for t in segment
        }
        chosen = segment[::-1][::4]
        shares = [sum(context.values()) / len(chosen) if t in chosen else 0 for t in segment]
        counts = by_remainders(shares, sum(context.values()), [n - len(salient[t]) for t in segment])
        targets, others = [], []
        for t, count in zip(segment, counts, strict=True):
            result |= {(t, i): tokens[t, i] for i in salient[t]}
            rest = [i for i in range(n) if i not in salient[t]]
            centers = clusters_of(tokens[t, rest], count, 4)[0] if count else []
            targets += [(t, rest[c]) for c in centers]
            others += [(t, i) for at, i in enumerate(rest) if at not in centers]
        joined = {target: [] for target in targets}
        for other in others if targets else []:
            best = max(targets, key=lambda target: round(cosine(tokens[target], tokens[other]), 9))
            joined[best].append(tokens[other])
        for target, guests in joined.items():
            weight = max(0.6, 1 / (len(guests) + 1))
            mean = torch.stack(guests).mean(dim=0) if guests else tokens[target]
            result[target] = weight * tokens[target] + (1 - weight) * mean
    return {t * n + i: token for (t, i), token in result.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    for frames, settings in ((8, {}), (9, {"segments": 2, "tau": 0.3})):
        video = made_video(kind, frames)
        for budget in (2, 5, 9, 0.41):
            pruner = FastVID(budget=budget, **settings)
            kept, wanted = pruner(video), slow(video, pruner.total_of(frames, 12), **settings)
            assert kept.places.tolist() == sorted(wanted)
            rows = torch.stack([wanted[place] for place in sorted(wanted)])
            torch.testing.assert_close(kept.rows, rows.float(), atol=1e-5, rtol=1e-5)


def test_what_is_known_of_made_videos():
    """One segment where nothing changes, one cut where it does; merged tokens are on every fourth frame."""
    tokens = made_video("cut").projected
    assert cut(tokens, 8, 0.84, 0.95) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert by_cuts([0.5, 0.9, 0.6, 0.99], 2, 0.55, 0.95) == [(0, 1), (1, 5)]
    assert by_cuts([0.5, 0.9, 0.6, 0.99], 4, 0.55, 0.95) == [(0, 1), (1, 2), (2, 3), (3, 5)]
    assert by_cuts([], 8, 0.84, 0.95) == [(0, 1)]
    assert FastVID(budget=5)(made_video("static", n=40)).counts == [3, 3, 3, 11, 3, 3, 3, 11]
    assert FastVID(budget=5)(made_video("cut", n=40)).counts == [3, 3, 3, 11, 3, 3, 3, 11]
    static = made_video("static")
    assert torch.equal(
        FastVID(budget=1)(static).rows, static.projected[0][static.signals[SALIENCY].argmax(1)]
    )
    with pytest.raises(SettingError, match=r"beta=1.5: expected a share in \[0, 1\]"):
        FastVID(budget=5, beta=1.5)

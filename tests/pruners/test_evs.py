"""EVS, against a loop over tokens."""

from __future__ import annotations

import pytest
from made_video import KINDS, cosine, made_video

from script_exp.pruners import EVS


def slow(tokens, total):
    """Rank all tokens of the video by how much they changed; the first frame comes first."""
    frames, n, _ = tokens.shape
    scored = []
    for t in range(frames):
        for i in range(n):
            changed = 2.5 if t == 0 else 1 - cosine(tokens[t, i], tokens[t - 1, i])
            scored.append((-round(changed, 9), t * n + i))
    return sorted(place for _, place in sorted(scored)[:total])


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    video = made_video(kind)
    for budget in (1, 2, 4, 11, 0.37):
        pruner = EVS(budget=budget)
        kept = pruner(video)
        assert kept.places.tolist() == slow(video.projected, pruner.total_of(8, 12))
        assert (kept.rows == video.projected.flatten(0, 1)[kept.places]).all()


def test_what_is_known_of_made_videos():
    """What does not change is kept once, a cut is kept whole, and of a moving thing its way."""
    assert EVS(budget=2)(made_video("static")).by_crop == [list(range(12)), [0, 1, 2, 3], *[[]] * 6]
    assert EVS(budget=3)(made_video("cut")).counts == [12, 0, 0, 0, 12, 0, 0, 0]
    way = [sorted({t - 1, t}) for t in range(1, 8)]  # where it left and where it is
    assert EVS(budget=26 / 96)(made_video("moving")).by_crop == [list(range(12)), *way]
    assert EVS(budget=1)(made_video("moving")).by_crop == [list(range(8)), *[[]] * 7]

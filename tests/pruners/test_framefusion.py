"""FrameFusion's merging, against a loop over pairs."""

from __future__ import annotations

import pytest
import torch
from made_video import KINDS, cosine, made_video

from script_exp.pruners import EVS, FrameFusion


def slow(tokens, total):
    """The kept place -> mean of its run, in double precision."""
    frames, n, _ = tokens.shape
    pairs = sorted(
        (-round(cosine(tokens[t, i], tokens[t - 1, i]), 9), -t, -i)
        for t in range(1, frames)
        for i in range(n)
    )
    joined = {(-t, -i) for _, t, i in pairs[: frames * n - total]}
    result = {}
    for i in range(n):
        run = []
        for t in range(frames):
            if (t, i) not in joined:
                run = []
                result[t * n + i] = run
            run.append(tokens[t, i].double())
    return {place: torch.stack(result[place]).mean(dim=0) for place in sorted(result)[:total]}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    video = made_video(kind)
    for budget in (1, 2, 4, 11, 0.37):
        pruner = FrameFusion(budget=budget)
        kept, wanted = pruner(video), slow(video.projected, pruner.total_of(8, 12))
        assert kept.places.tolist() == list(wanted)
        torch.testing.assert_close(kept.rows, torch.stack(list(wanted.values())).float())
        if budget != 1:  # at least a frame: the same places as EVS, which drops where this merges
            assert torch.equal(kept.places, EVS(budget=budget)(video).places)


def test_what_is_known_of_made_videos():
    """Pictures that stand become themselves, and what moves is not mixed with what stands."""
    cut = made_video("cut")
    kept = FrameFusion(budget=3)(cut)
    assert kept.counts == [12, 0, 0, 0, 12, 0, 0, 0]
    torch.testing.assert_close(kept.rows, cut.projected[[0, 4]].flatten(0, 1))
    moving = made_video("moving")
    kept = FrameFusion(budget=26 / 96)(moving)
    torch.testing.assert_close(kept.rows, moving.projected.flatten(0, 1)[kept.places])

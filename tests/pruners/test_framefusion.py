"""FrameFusion's merging, against a loop over pairs."""

from __future__ import annotations

import pytest
import torch
from made_video import KINDS, cosine, made_video

from script_exp.errors import SettingError
from script_exp.pruners import EVS, FrameFusion, FrameFusionInside
from script_exp.pruners.contract.layer_signals import LAST_ROW, LayerState, Origin, States, TokensKnown


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


def inside(kind, count, threshold=0.6):
    """What the stage inside the LLM leaves of a made video, and the attention that it reads."""
    states = made_video(kind).projected.flatten(0, 1)
    row = torch.rand(2, len(states), generator=torch.Generator().manual_seed(1))
    frame, place = torch.arange(len(states)) // 12, torch.arange(len(states)) % 12
    known = TokensKnown(origin=Origin(torch.zeros_like(frame), frame, place, frame))
    state = LayerState(0, torch.arange(len(states)), {LAST_ROW: row, States("leaving"): states}, known)
    choice = FrameFusionInside(budget=1, threshold=threshold).choose(state, count)
    order = choice.chosen.argsort()
    return choice.chosen[order].tolist(), choice.states[order], row.mean(dim=0), states


def test_inside_the_llm_what_is_alike_is_merged_before_anything_is_pruned():
    kept, means, row, states = inside("cut", 24)
    pictures = [*range(12), *range(48, 60)]
    assert kept == pictures
    torch.testing.assert_close(means, states[pictures])
    scores = row.view(2, 4, 12).mean(dim=1).flatten()  # of 20 of 24 runs
    kept, *_ = inside("cut", 20)
    assert kept == sorted(pictures[run] for run in scores.argsort(descending=True)[:20])
    kept, means, row, states = inside("random", 20, threshold=1)  # nothing is merged: as FastV
    assert kept == sorted(row.argsort(descending=True)[:20].tolist())
    assert torch.equal(means, states[kept])
    kept, means, *_, states = inside("moving", 90)  # the picture behind is merged, a pair at a time
    assert len(kept) == 90
    torch.testing.assert_close(means, states[kept])
    with pytest.raises(SettingError, match=r"^threshold=2: expected a cosine in \[-1, 1\]"):
        FrameFusionInside(budget=1, threshold=2)
    with pytest.raises(ValueError, match="needs to know where the tokens come from"):
        FrameFusionInside(budget=1).choose(
            LayerState(0, torch.arange(96), {LAST_ROW: torch.rand(2, 96), States("leaving"): states}), 9
        )

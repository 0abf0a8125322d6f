"""Clips are what their plans say, and the answers to their questions follow from the frames alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from script_exp.shapes.clip_questions import CLIP_KINDS, made_clips
from script_exp.shapes.clips import FEWEST_FRAMES, MOST_FRAMES, plan_clip
from script_exp.shapes.questions import NUMBERS
from script_exp.shapes.sprites import COLORS

SEED = 20267
GUESTS = [
    {4: (18, 21)}, {1: (20, 6)}, {0: (4, 14)}, {7: (6, 14)}, {6: (9, 12)}, {2: (8, 1)}, {6: (19, 0)},
]  # fmt: skip
PIXELS = 2420.593


def shows(frames, color):
    """(T,) bool: whether a frame has a patch's worth of pixels in a color, in any of its shades."""
    full = np.array(COLORS[color], float)
    shade = np.clip(frames @ full / (full @ full), 0.9, 1)
    near = np.abs(frames - shade[..., None] * full).max(-1) <= 5
    return near.sum((1, 2)) >= 30


def test_the_first_clip_of_the_benchmark():
    """Runs are found again by the seed alone, so the clips of a seed must not change."""
    clip, questions = next(made_clips(SEED, 1, 8))
    asked = [(one.kind, one.text, one.answer, one.objects) for one in questions]
    assert asked == [
        ("moment", "what color is the heart?", "red", (0,)),
        ("count", "how many purple objects are there?", "four", (1, 2, 3, 4)),
        ("order", "which comes first, the orange object or the cyan object?", "orange", (5, 6)),
    ]
    shown = [dict(actor.corners) for actor in clip.actors[:7]]
    assert shown == GUESTS
    assert clip.cut is None
    frames, coverage = clip.paint()
    again = plan_clip(SEED, 0, 8).paint()
    assert np.array_equal(frames, again[0])
    assert np.array_equal(coverage, again[1])
    assert frames.mean(axis=(1, 2)).sum() == pytest.approx(PIXELS, abs=0.5)


def test_the_frames_alone_have_the_answers():
    """Each count and order is found again in the pixels; of the moment's shape there is one, in one frame."""
    for clip, questions in made_clips(7, 4, 6):
        frames, _ = clip.paint()
        moment, count, order = questions
        assert tuple(one.kind for one in questions) == CLIP_KINDS
        asked = moment.text.removeprefix("what color is the ").removesuffix("?")
        found = [actor for actor in clip.actors if actor.look.shape == asked]
        assert [actor.look.color for actor in found] == [moment.answer]
        ((frame, (row, column)),) = found[0].corners.items()
        cell = frames[frame, None, 8 * row : 8 * row + 24, 8 * column : 8 * column + 24]
        assert shows(cell, moment.answer).all()
        counted = count.text.removeprefix("how many ").removesuffix(" objects are there?")
        assert NUMBERS[int(shows(frames, counted).sum())] == count.answer
        named = order.text.removeprefix("which comes first, the ").removesuffix(" object?")
        times = {color: shows(frames, color).nonzero()[0] for color in named.split(" object or the ")}
        assert all(len(when) == 1 for when in times.values())
        assert min(times, key=lambda color: times[color][0]) == order.answer


def test_coverage_is_what_an_actor_changes():
    """Without an actor, exactly the patches that it covers look different, in the frames that show it."""
    clip = plan_clip(7, 1, 5)
    frames, coverage = clip.paint()
    assert (coverage > 0).sum(axis=0).max() == 1  # nothing overlaps
    for index in (0, len(clip.actors) - 1, len(clip.actors) // 2):
        others = clip.actors[:index] + clip.actors[index + 1 :]
        without, _ = replace(clip, actors=others).paint()
        changed = (frames != without).reshape(5, 24, 8, 24, 8, 3).any(axis=(2, 4, 5))
        assert not (changed & (coverage[index] == 0)).any()
        assert changed[coverage[index] > 0.05].all()
        assert set(changed.any(axis=(1, 2)).nonzero()[0]) == set(clip.actors[index].corners)


def test_what_moves_what_is_cut_and_how_answers_are_spread():
    clips = list(made_clips(11, 48, 8))
    answers = {kind: Counter() for kind in CLIP_KINDS}
    first_named = 0
    for number, (clip, questions) in enumerate(clips):
        assert (clip.cut is not None) == bool(number % 2)
        guests = [clip.moment, *clip.counted, *clip.ordered]
        assert guests == list(range(len(guests)))
        assert all(len(clip.actors[index].corners) == 1 for index in guests)
        assert len({frame for index in clip.counted for frame in clip.actors[index].corners}) == len(
            clip.counted
        )
        moving = 0
        for actor in clip.actors[len(guests) :]:
            shown = sorted(actor.corners)
            assert shown == list(range(shown[0], shown[-1] + 1))
            assert clip.cut is None or (shown[0] < clip.cut) == (shown[-1] < clip.cut)
            steps = {
                tuple(np.subtract(actor.corners[late], actor.corners[early]).tolist())
                for early, late in pairwise(shown)
            }
            assert len(steps) <= 1
            moving += steps not in (set(), {(0, 0)})
        assert moving > 0
        for question in questions:
            answers[question.kind][question.answer] += 1
        first_named += questions[2].text.split()[4] == questions[2].answer
    assert first_named == 24
    assert set(answers["count"]) == set(NUMBERS[1:])
    assert len(answers["moment"]) == len(COLORS)
    assert max(answers["moment"].values()) < 16


@pytest.mark.parametrize("length", [FEWEST_FRAMES, MOST_FRAMES])
def test_the_shortest_and_the_longest_clips(length):
    for number in range(4):
        frames, coverage = plan_clip(3, number, length).paint()
        assert frames.shape == (length, 192, 192, 3)
        assert coverage.shape[1:] == (length, 24, 24)

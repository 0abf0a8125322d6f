"""Pictures with crops: their sizes, what is in them, and that the answers are right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from script_exp.shapes.next_scenes import NEXT_WORLD, PICTURES
from script_exp.shapes.questions import NUMBERS, YES_NO
from script_exp.shapes.scenes import GROUND
from script_exp.shapes.sprites import PATCH, SIGN


@pytest.fixture(scope="module")
def held_out():
    return list(NEXT_WORLD.held_out(79, 30))


def test_pictures_have_the_sizes_and_what_is_in_them_is_inside(held_out):
    again = next(NEXT_WORLD.held_out(79, 1))
    assert np.array_equal(again[0].image, held_out[0][0].image)
    assert again[1] == held_out[0][1]
    assert {scene.image.shape for scene, _ in held_out} == {(8 * r, 8 * c, 3) for r, c in PICTURES}
    for scene, _ in held_out:
        rows, columns = (length // PATCH for length in scene.image.shape[:2])
        assert len(scene.grounds) == rows * columns
        coverage = np.sum([item.coverage for item in scene.objects], axis=0)
        assert coverage.shape == (rows * columns,)
        assert coverage.max() <= 1 + 1e-6
        for item in scene.objects:  # no object is cut off at a border: each covers what its shape has
            pixels = item.coverage.sum() * PATCH**2
            if item.look.shape == SIGN:
                assert pixels == pytest.approx(18 * 16)
            elif item.look.shape != GROUND:
                assert 35 < pixels < 340


def test_answers_are_right_by_the_pixels_and_the_list_of_objects(held_out):
    answers = Counter()
    for scene, questions in held_out:
        looks = [item.look for item in scene.objects]
        shapes = [look for look in looks if look.shape not in (SIGN, GROUND)]
        rows, columns = (length // PATCH for length in scene.image.shape[:2])
        for question in questions:
            words = question.text.rstrip("?").split()
            if question.kind == "count":
                assert question.answer == NUMBERS[sum(look.color == words[2] for look in shapes)]
            elif question.kind == "exist":
                assert question.answer == YES_NO[words[3] in {look.color for look in looks}]
            elif question.kind == "ground":
                place = words[-1]
                corner = (rows - 1) * ("south" in place) * columns + (columns - 1) * ("east" in place)
                assert question.answer == looks[scene.grounds[corner]].color
            elif question.kind == "digit":
                assert question.answer in {look.written for look in looks if look.shape == SIGN}
            answers[question.kind, question.answer] += 1
    assert abs(answers["exist", "yes"] - answers["exist", "no"]) <= 1
    assert abs(answers["both", "yes"] - answers["both", "no"]) <= 1

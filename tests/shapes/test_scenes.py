"""Scenes: rendered deterministically, with coverage that matches the pixels."""

import numpy as np
import pytest

from script_exp.shapes.scenes import GRID, GROUND, IMAGE_SIZE, Window, make_scene
from script_exp.shapes.sprites import COLORS, PATCH, SIGN


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(11)
    return [make_scene(rng, count) for count in (5, 8, 14, 22, 22, 22, 22)]


def test_equal_seeds_render_equal_scenes():
    first, second = (make_scene(np.random.default_rng(3), 12) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert [item.look for item in first.objects] == [item.look for item in second.objects]
    assert not np.array_equal(first.image, make_scene(np.random.default_rng(4), 12).image)


def test_image_and_coverage_have_the_documented_form(scenes):
    for scene in scenes:
        assert scene.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert scene.image.dtype == np.uint8
        for item in scene.objects:
            assert item.coverage.shape == (GRID * GRID,)
            assert item.coverage.min() >= 0
            assert item.coverage.max() <= 1


def test_nothing_covers_more_than_a_whole_patch(scenes):
    for scene in scenes:
        assert np.sum([item.coverage for item in scene.objects], 0).max() <= 1 + 1e-5


def test_objects_cover_as_many_pixels_as_their_shape_has(scenes):
    for scene in scenes:
        for item in scene.objects:
            pixels = item.coverage.sum() * PATCH**2
            if item.look.shape == SIGN:
                assert pixels == pytest.approx(18 * 16)
            elif item.look.shape != GROUND:
                assert 35 < pixels < 340


def test_almost_wholly_covered_patches_show_the_objects_color(scenes):
    checked = 0
    for scene in scenes:
        for item in scene.objects:
            if item.look.shape in (SIGN, GROUND):
                continue
            for patch in np.flatnonzero(item.coverage > 0.97):
                row, column = divmod(int(patch), GRID)
                pixels = scene.image[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
                difference = np.abs(pixels.reshape(-1, 3).mean(0) - np.array(COLORS[item.look.color]))
                assert difference.max() <= 0.1 * 255 + 5
                checked += 1
    assert checked > 20


def test_centers_lie_in_covered_patches_on_average(scenes):
    for scene in scenes:
        for item in scene.objects:
            if item.look.shape == GROUND:
                continue
            rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
            weights = item.coverage / item.coverage.sum()
            middle = ((weights @ rows + 0.5) * PATCH, (weights @ columns + 0.5) * PATCH)
            assert np.abs(np.subtract(middle, item.center)).max() < PATCH


def test_a_window_places_its_objects_in_the_full_scene():
    window = Window(side=6, top=18, left=3)
    scene = make_scene(np.random.default_rng(0), 2, window)
    assert scene.image.shape == (48, 48, 3)
    for item in scene.objects:
        assert 18 * PATCH <= item.center[0] <= 24 * PATCH
        assert 3 * PATCH <= item.center[1] <= 9 * PATCH


def test_every_patch_belongs_to_a_ground(scenes):
    for scene in scenes:
        assert {scene.objects[index].look.shape for index in scene.grounds} == {GROUND}

"""Pooling over the grid, against loops over bins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_visual import made

from script_exp.errors import SettingError
from script_exp.pruners import Pool
from script_exp.pruners.before_llm.pool import pooled_shape


def slow_bins(size, count):
    """The rows (or columns) of each bin."""
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


@pytest.mark.parametrize("space", ["projected", "tower"])
@pytest.mark.parametrize(("grid", "k"), [((6, 6), 1), ((6, 6), 16), ((5, 7), 12), ((4, 9), 18)])
def test_equals_the_loop(grid, k, space):
    visual = made(grid)
    kept = Pool(budget=k, space=space)(visual)
    features = visual.projected if space == "projected" else visual.tower
    height, width = pooled_shape(k, grid, k)
    wanted, places = [], []
    for i, rows in enumerate(slow_bins(grid[0], height)):
        for j, columns in enumerate(slow_bins(grid[1], width)):
            inside = [row * grid[1] + column for row in rows for column in columns]
            wanted.append(features[:, inside].mean(dim=1))
            row, column = int((i + 0.5) * grid[0] / height), int((j + 0.5) * grid[1] / width)
            assert row in rows
            assert column in columns
            places.append(row * grid[1] + column)
    pooled = torch.stack(wanted, dim=1)
    if space == "tower":
        pooled = visual.project(pooled)
    torch.testing.assert_close(kept.tokens, pooled, atol=1e-5, rtol=1e-5)
    assert kept.indices.tolist() == [places, places]


def test_shapes_of_our_budgets():
    shapes = {192: (12, 16), 128: (8, 16), 64: (8, 8), 32: (4, 8), 1: (1, 1), 576: (24, 24)}
    assert {k: pooled_shape(k, (24, 24), k) for k in shapes} == shapes


def test_sixty_four_of_a_square_crop_are_means_of_three_by_three():
    visual = made((24, 24), crops=1)
    picture = visual.projected.mT.unflatten(-1, (24, 24))
    wanted = torch.nn.functional.avg_pool2d(picture, 3).flatten(2).mT
    torch.testing.assert_close(Pool(budget=64)(visual).tokens, wanted)


def test_every_budget_either_works_or_names_others_that_do():
    for k in range(1, 145):
        try:
            height, width = pooled_shape(k, (12, 12), k)
            assert height * width == k
            assert max(height, width) <= 12
        except SettingError as error:
            below, above = map(int, error.expected.rsplit("are ", 1)[1].split(" and "))
            assert below < k < above
            for count in range(below, above + 1):
                possible = any(count % h == 0 and count // h <= 12 for h in range(1, 13))
                assert possible == (count in (below, above))


def test_a_square_crop_is_checked_before_an_image_is_seen():
    with pytest.raises(SettingError, match=r"budget=31: expected rows x .* 24 x 24; .* 31 are 30 and 32$"):
        Pool(budget=31).kept_of(576)


def test_another_grid_is_checked_with_the_image():
    assert Pool(budget=34).kept_of(35) == 34
    with pytest.raises(SettingError, match=r"budget=34: expected rows x .* 5 x 7; .* 34 are 30 and 35$"):
        Pool(budget=34)(made((5, 7)))


def test_tokens_without_a_grid():
    with pytest.raises(SettingError, match="pruner=Pool: expected a method that needs no grid"):
        Pool(budget=4)(replace(made(), grid=None))


def test_out_of_range():
    with pytest.raises(SettingError, match=r"^space=pixels: expected one of projected, tower"):
        Pool(budget=4, space="pixels")

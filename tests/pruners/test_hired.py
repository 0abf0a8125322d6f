"""HiRED, against its steps written out for each crop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import FasterVLM, HiRED
from script_exp.pruners.contract.signals import SALIENCY, Signal

EARLY = Signal("saliency", 0.01)


def picture(tiles, grid, seed=0):
    crops = 1 if tiles is None else 1 + tiles[0] * tiles[1]
    visual = made_tokens(grid[0] * grid[1], crops=crops, seed=seed, signals=(SALIENCY, EARLY), grid=grid)
    return replace(visual, tiles=tiles)


def best(scores, count):
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]


def slow_hired(visual, k, alpha, regions):
    (down, across), (rows, columns) = visual.tiles, visual.grid
    parts, n = down * across, rows * columns
    total = (1 + parts) * k
    base = min(int(total * alpha), n)
    seen = best(visual.signals[EARLY][0].tolist(), int(n * (1 - alpha)))
    counts = [0] * parts
    for patch in seen:
        row, column = divmod(patch, columns)
        for part in range(parts):
            top, left = divmod(part, across)
            if regions == "strips":
                inside = part * n <= patch * parts < (part + 1) * n
            else:
                inside = top * rows <= row * down < (top + 1) * rows
                inside &= left * columns <= column * across < (left + 1) * columns
            counts[part] += inside
    quotas = [0] * parts
    if sum(counts):
        quotas = [min(n, count * (total - base) // sum(counts)) for count in counts]
    turns = sorted(range(parts), key=lambda part: (-counts[part], part))
    while base + sum(quotas) < total:  # the released code loses these
        if min(quotas) == n:
            base += 1
        for part in turns:
            if base + sum(quotas) < total and quotas[part] < n:
                quotas[part] += 1
    late = visual.signals[SALIENCY].tolist()
    return [sorted(best(scores, count)) for scores, count in zip(late, [base, *quotas], strict=True)]


@pytest.mark.parametrize("regions", ["strips", "cells"])
@pytest.mark.parametrize("tiles", [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_equals_the_steps_written_out(tiles, regions):
    for seed, grid in enumerate([(4, 4), (6, 6), (5, 7)]):
        visual = picture(tiles, grid, seed)
        n = grid[0] * grid[1]
        for k in (1, 2, n // 3, n - 1):
            for alpha in (0.1, 0.5, 0.99):
                kept = HiRED(budget=k, alpha=alpha, regions=regions)(visual)
                assert kept.by_crop == slow_hired(visual, k, alpha, regions)
                assert sum(kept.counts) == len(visual.projected) * k


def test_the_released_regions_are_strips_of_the_raster():
    """The top left quarter of the base image is seen: 72 patches in each of two strips, 144 in one cell."""
    visual = picture((2, 2), (24, 24))
    patch = torch.arange(576)
    early = visual.signals[EARLY].clone()
    early[0] += ((patch // 24 < 12) & (patch % 24 < 12)).float()
    visual = replace(visual, signals=visual.signals | {EARLY: early})
    assert HiRED(budget=64, alpha=0.75)(visual).counts == [240, 40, 40, 0, 0]
    assert HiRED(budget=64, alpha=0.75, regions="cells")(visual).counts == [240, 80, 0, 0, 0]


@pytest.mark.parametrize("crops", [1, 3])
def test_without_parts_of_a_picture_it_is_fastervlm(crops):
    visual = made_tokens(30, crops=crops, signals=(SALIENCY, EARLY))
    assert torch.equal(HiRED(budget=9)(visual).places, FasterVLM(budget=9)(visual).places)


@pytest.mark.parametrize(
    ("key", "value"), [("alpha", 0), ("alpha", 1.0), ("regions", "rows"), ("layer", "first")]
)
def test_settings_out_of_range(key, value):
    with pytest.raises(SettingError, match=f"^{key}={value}: expected"):
        HiRED(budget=4, **{key: value})

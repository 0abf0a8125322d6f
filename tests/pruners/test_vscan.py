"""VScan's vision stage, against loops over windows and groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from made_visual import cosine, made

from script_exp.errors import SettingError
from script_exp.pruners import VScan
from script_exp.pruners.contract.signals import Signal

SHALLOW = Signal("saliency", -2)


def slow_windows(grid, side):
    """The window of each token; what is left over belongs to the last one."""
    last = [max(1, size // side) - 1 for size in grid]
    return [
        (min(row // side, last[0]), min(column // side, last[1]))
        for row in range(grid[0])
        for column in range(grid[1])
    ]


def slow_select(visual, crop, k, side):
    """Pass the tokens by descending local attention, with a quota per window; then by global attention."""
    window = slow_windows(visual.grid, side)
    shallow, deep = (visual.signals[one][crop].tolist() for one in (SHALLOW, Signal("saliency")))
    order = sorted(range(len(shallow)), key=lambda i: (-shallow[i], i))
    local, taken = [], Counter()
    quota = -(-(k // 2) // len(set(window)))
    for i in order:
        if len(local) < k // 2 and taken[window[i]] < quota:
            local.append(i)
            taken[window[i]] += 1
    local += [i for i in order if i not in local][: k // 2 - len(local)]  # windows that are too small
    rest = sorted((i for i in range(len(deep)) if i not in local), key=lambda i: (-deep[i], i))
    return local + rest[: k - k // 2]


def slow_tokens(visual, crop, kept):
    projected = visual.projected[crop]
    groups = {i: [i] for i in kept}
    for i in range(len(projected)):
        if i not in kept:
            similarity = [cosine(projected[i], projected[host]) for host in kept]
            groups[kept[similarity.index(max(similarity))]].append(i)
    return torch.stack([projected[groups[i]].mean(dim=0) for i in kept])


@pytest.mark.parametrize("grid", [(6, 6), (5, 7), (2, 9)])
@pytest.mark.parametrize("window", [2, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_loop(grid, window, seed):
    visual = made(grid, seed=seed)
    n = grid[0] * grid[1]
    for k in (1, 2, 5, 8, n // 2, n - 1):
        kept = VScan(budget=k, layer=-2, window=window)(visual)
        for crop in range(2):
            wanted = sorted(slow_select(visual, crop, k, window))
            assert kept.indices[crop].tolist() == wanted
            rows = slow_tokens(visual, crop, wanted)
            torch.testing.assert_close(kept.tokens[crop], rows, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("k", [192, 128, 64, 32])
def test_no_window_is_empty_and_all_have_the_released_number(k):
    visual = made((24, 24), crops=5)
    kept = VScan(budget=k, layer=-2)
    local = kept._local(visual.map(torch.Tensor.float), k // 2)
    window = slow_windows((24, 24), 6)
    for crop in range(5):
        assert set(Counter(window[i] for i in local[crop].tolist()).values()) == {k // 32}
        assert len({window[i] for i in local[crop].tolist()}) == 16


def test_tokens_without_a_grid():
    with pytest.raises(SettingError, match="pruner=VScan: expected a method that needs no grid"):
        VScan(budget=4, layer=-2)(replace(made(), grid=None))


def test_half_precision():
    visual = made(dtype=torch.bfloat16)
    kept, exact = VScan(budget=9, layer=-2)(visual), VScan(budget=9, layer=-2)(visual.map(torch.Tensor.float))
    assert torch.equal(kept.indices, exact.indices)
    assert torch.equal(kept.tokens, exact.tokens.bfloat16())


@pytest.mark.parametrize("settings", [{"layer": -0.5}, {"layer": 1.5}, {"window": 0}, {"window": "all"}])
def test_out_of_range(settings):
    ((key, value),) = settings.items()
    with pytest.raises(SettingError, match=f"^{key}={value}: expected a whole number"):
        VScan(budget=4, **settings)

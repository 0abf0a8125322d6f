"""ApET, against loops over tokens and a reconstruction in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_visual import cosine, made

from script_exp.errors import SettingError
from script_exp.pruners import ApET


def slow_basis(x, count, first):
    """Farthest points: each next one has the largest distance to its nearest earlier one."""
    basis = [first]
    while len(basis) < min(count, len(x)):
        nearest = [min(((token - x[b]) ** 2).sum() for b in basis) for token in x]
        basis.append(int(np.argmax(nearest)))
    return basis


def slow_apet(x, k, basis, half):
    """Return {index: feature} of the kept tokens."""
    rows = x[basis]
    coefficients = x @ rows.T @ np.linalg.inv(rows @ rows.T + 1e-5 * np.eye(len(basis)))
    errors = np.linalg.norm(x - coefficients @ rows, axis=1)
    kept = sorted(range(len(x)), key=lambda i: (-errors[i], i))[:k]
    lowest = sorted(sorted(kept), key=lambda i: errors[i])[: min(len(basis), k - 1)]
    hosts = sorted(set(kept) - set(lowest))
    groups = {host: [host] for host in hosts}
    for i in range(len(x)):
        if i not in kept:
            similarity = [cosine(torch.tensor(x[i]), torch.tensor(x[host])) for host in hosts]
            groups[hosts[int(np.argmax(similarity))]].append(i)
    result = {host: x[group].mean(axis=0) for host, group in groups.items()}
    for index, b in zip(sorted(lowest), basis, strict=False):
        result[index] = (x[index] + x[b]) / 2 if half else x[b]
    return result


def first_of(visual, method, crop):
    """The random first token, read from the method; its uniformity is tested on its own."""
    return method._basis_and_errors(visual)[0][crop, 0].item()


@pytest.mark.parametrize("has_tower", [True, False])
@pytest.mark.parametrize("basis", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(seed, basis, has_tower):
    visual = made((5, 6), seed=seed)
    if not has_tower:
        visual = replace(visual, tower=None, project=None)
    for k in (1, 2, 4, 5, 12, 29):
        method = ApET(budget=k, basis=basis, seed=seed)
        kept = method(visual)
        for crop in range(2):
            x = visual.features[crop].double().numpy()
            points = slow_basis(x, basis, first_of(visual, method, crop))
            wanted = slow_apet(x, k, points, half=not has_tower)
            assert kept.indices[crop].tolist() == sorted(wanted)
            rows = torch.tensor(np.stack([wanted[i] for i in sorted(wanted)])).float()
            rows = visual.project(rows) if has_tower else rows
            torch.testing.assert_close(kept.tokens[crop], rows, atol=1e-5, rtol=1e-4)


def test_a_basis_that_spans_everything_leaves_no_error():
    """Twelve tokens in three dimensions, with a basis of ten."""
    torch.manual_seed(0)
    x = torch.randn(1, 12, 3) @ torch.randn(3, 7) * 10
    visual = replace(made((3, 4), crops=1), tower=x)
    errors = ApET(budget=11)._basis_and_errors(visual)[1]
    assert errors.max() < 1e-5 * x.norm(dim=-1).min()
    assert ApET(budget=11)(visual).indices.shape == (1, 11)


def test_equal_tokens_are_no_obstacle():
    visual = made((3, 4))
    same = visual.tower[:, :1].expand(2, 12, 7).contiguous()
    kept = ApET(budget=5)(replace(visual, tower=same))
    assert kept.tokens.isfinite().all()


def test_the_first_token_depends_on_seed_sample_and_crop_only():
    visual = made((10, 10), crops=40)
    firsts = {
        (seed, key): ApET(budget=20, seed=seed)._basis_and_errors(replace(visual, key=key))[0][:, 0].tolist()
        for seed in (0, 1)
        for key in ("a", "b")
    }
    assert len({tuple(one) for one in firsts.values()}) == 4
    drawn = [first for one in firsts.values() for first in one]
    assert min(drawn) < 10
    assert max(drawn) >= 90
    assert len(set(drawn)) > 60  # of 100, in 160 draws: 80 on average
    again = ApET(budget=20)._basis_and_errors(replace(visual, key="a"))[0][:, 0].tolist()
    assert again == firsts[0, "a"]


def test_half_precision_chooses_by_the_same_numbers():
    visual = made(dtype=torch.bfloat16)
    kept = ApET(budget=14)(visual)
    assert kept.tokens.dtype == torch.bfloat16
    exact = ApET(budget=14).select(visual.map(torch.Tensor.float), None, 14)
    assert torch.equal(kept.indices, exact.sort(dim=-1).values)


@pytest.mark.parametrize("settings", [{"basis": 0}, {"basis": 2.5}, {"seed": -1}])
def test_out_of_range(settings):
    ((key, value),) = settings.items()
    with pytest.raises(SettingError, match=f"^{key}={value}: expected a whole number"):
        ApET(budget=4, **settings)

"""ToMe's rounds on the tokens, against lists."""

from __future__ import annotations

import pytest
import torch
from made_visual import cosine, made

from script_exp.errors import SettingError
from script_exp.pruners import ToMe
from script_exp.pruners.contract.signals import Signal


def slow_tome(tokens, metric, k, size_weighted):
    """Return {place: (token, members)}; a token is (feature, metric, members, place)."""
    tokens = [(tokens[i].double(), metric[i].double(), [i], i) for i in range(len(tokens))]
    while len(tokens) > k:
        remove = min(len(tokens) - k, len(tokens) // 2)
        even, odd = tokens[0::2], tokens[1::2]
        edges = []
        for rank, one in enumerate(even):
            similarity = [cosine(one[1], other[1]) for other in odd]
            edges.append((-max(similarity), rank, similarity.index(max(similarity))))
        edges.sort()
        grown = []
        for target, b in enumerate(odd):
            group = [b, *(even[rank] for _, rank, to in edges[:remove] if to == target)]
            weights = [len(one[2]) if size_weighted else 1 for one in group]
            means = [
                sum(w * one[i] for w, one in zip(weights, group, strict=True)) / sum(weights) for i in (0, 1)
            ]
            grown.append((*means, [member for one in group for member in one[2]], b[3]))
        tokens = [even[rank] for _, rank, _ in edges[remove:]] + grown
    return {place: (feature, members) for feature, _, members, place in tokens}


@pytest.mark.parametrize("size_weighted", [True, False])
@pytest.mark.parametrize("metric", ["projected", "keys"])
@pytest.mark.parametrize("grid", [(4, 4), (5, 7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_lists(grid, metric, size_weighted, seed):
    visual = made(grid, seed=seed)
    n = grid[0] * grid[1]
    for k in (1, 2, 5, n // 4, n // 2, n - 1):
        kept = ToMe(budget=k, metric=metric, size_weighted=size_weighted)(visual)
        for crop in range(2):
            compared = visual.projected if metric == "projected" else visual.signals[Signal("keys")]
            wanted = slow_tome(visual.projected[crop], compared[crop], k, size_weighted)
            assert kept.indices[crop].tolist() == sorted(wanted)
            for token, place in zip(kept.tokens[crop], sorted(wanted), strict=True):
                feature, members = wanted[place]
                torch.testing.assert_close(token, feature.float(), atol=1e-5, rtol=1e-4)
                if size_weighted:  # a token of size s equals the mean of its members
                    mean = visual.projected[crop, members].mean(dim=0)
                    torch.testing.assert_close(token, mean, atol=1e-5, rtol=1e-4)
            assert sorted(member for _, members in wanted.values() for member in members) == list(range(n))


def test_half_precision_rounds_once():
    visual = made(dtype=torch.bfloat16)
    kept = ToMe(budget=4)(visual)
    exact = ToMe(budget=4)(visual.map(torch.Tensor.float))
    assert torch.equal(kept.indices, exact.indices)
    assert torch.equal(kept.tokens, exact.tokens.bfloat16())


@pytest.mark.parametrize(
    ("settings", "key"), [({"metric": "tower"}, "metric=tower"), ({"size_weighted": 2}, "size_weighted=2")]
)
def test_out_of_range(settings, key):
    with pytest.raises(SettingError, match=f"^{key}: expected "):
        ToMe(budget=4, **settings)

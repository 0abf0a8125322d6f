"""CDPruner, against its kernel and greedy search written out, and beside the query module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import CDPruner, Query, QueryConditioned


def made(n, crops, seed, segments=2):
    generator = torch.Generator().manual_seed(100 + seed)
    joint = torch.randn(crops, n, 12, generator=generator) + 0.3
    visual = replace(made_tokens(n, crops, seed, width=64, signals=()), joint=joint)
    return visual, Query(torch.randn(segments, 12, generator=generator), sign=-1)


def slow_relevance(joint, segments, offset):
    """Over all crops together, from minus the mean cosine."""
    raw = [
        [-np.mean([p @ t / (np.linalg.norm(p) * np.linalg.norm(t)) for t in segments]) for p in crop]
        for crop in joint
    ]
    low, high = np.min(raw), np.max(raw)
    return [[(value - low + offset) / (high - low) for value in crop] for crop in raw]


def slow_map(tokens, relevance, k):
    """One determinant per candidate."""
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    kernel = np.outer(relevance, relevance) * (unit @ unit.T)
    picks = []
    for _ in range(k):
        rest = [i for i in range(len(tokens)) if i not in picks]
        gains = [np.linalg.slogdet(kernel[np.ix_([*picks, i], [*picks, i])])[1] for i in rest]
        picks.append(rest[int(np.argmax(gains))])
    return sorted(picks)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (25, 10), (25, 24)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_determinants_of_the_kernel(n, k, seed):
    visual, query = made(n, 3, seed)
    joint, segments = visual.joint.double().numpy(), query.embeddings.double().numpy()
    relevance = slow_relevance(joint, segments, 1e-6)
    torch.testing.assert_close(CDPruner(budget=1).relevance(visual, query), torch.tensor(relevance).float())
    kept = CDPruner(budget=k)(visual, query).indices
    for crop in range(3):
        assert kept[crop].tolist() == slow_map(visual.projected[crop].double().numpy(), relevance[crop], k)


def test_it_is_the_query_module_over_the_image_without_its_offset():
    visual, query = made(40, 3, 0)
    visual = replace(visual, joint=visual.joint + torch.tensor([0.0, 1.0, 4.0])[:, None, None])
    plain = CDPruner(budget=12, offset=0)(visual, query)
    assert torch.equal(
        plain.indices, QueryConditioned(budget=12, relevance_range="image")(visual, query).indices
    )
    assert not torch.equal(plain.indices, QueryConditioned(budget=12)(visual, query).indices)


def test_relevance_is_never_zero():
    visual, query = made(40, 3, 0)
    relevance = CDPruner(budget=12).relevance(visual, query)
    assert 0 < relevance.min() < 1e-5
    even = replace(visual, joint=torch.ones(3, 40, 12))
    assert (CDPruner(budget=12).relevance(even, query) == 1).all()


@pytest.mark.parametrize("offset", [-1, 2, "small", float("nan")])
def test_offset_out_of_range(offset):
    with pytest.raises(SettingError, match=rf"offset={offset}: expected a number in \[0, 1\]"):
        CDPruner(budget=4, offset=offset)

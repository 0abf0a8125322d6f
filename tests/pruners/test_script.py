"""How Script combines its two modules, and what the released code does instead."""

from __future__ import annotations

import math

import pytest
import torch

from script_exp.pruners import Graph, Query, QueryConditioned, QueryDPP, Script, ScriptReleased, VisualTokens
from script_exp.pruners.base import gather_tokens
from script_exp.pruners.script_released import merge_dropped, released_loop


def example(n=120, crops=2, seed=0, segments=1):
    """Clustered tokens, as image patches are, with patch and text embeddings."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(9, 48, generator=generator)
    which = torch.randint(0, 9, (crops, n), generator=generator)
    projected = centers[which] + 0.5 * torch.randn(crops, n, 48, generator=generator) + 0.5
    joint = torch.randn(crops, n, 20, generator=generator)
    tower = torch.randn(crops, n, 12, generator=generator)
    return VisualTokens(projected, joint, tower), Query(torch.randn(segments, 20, generator=generator))


def test_without_a_graph_it_is_the_query_module():
    visual, query = example()
    wanted = QueryConditioned(budget=20)(visual, query).indices
    assert torch.equal(Script(budget=20, graph_keep=1.0)(visual, query).indices, wanted)
    assert torch.equal(Script(budget=20, walk=1.0, padding="dpp")(visual, query).indices, wanted)


def test_the_graph_matters():
    visual, query = example()
    script = Script(budget=20)(visual, query).indices
    assert not torch.equal(script, QueryConditioned(budget=20)(visual, query).indices)
    assert not torch.equal(script, Graph(budget=20)(visual, query).indices)


@pytest.mark.parametrize("padding", ["dpp", "relevance", "graph"])
@pytest.mark.parametrize(
    ("graph_keep", "walk", "k"), [(0.5, 2.0, 20), (0.2, 1.5, 30), (0.9, 1.0, 40), (0.5, 2.0, 80)]
)
def test_equals_a_walk_written_out(padding, graph_keep, walk, k):
    visual, query = example()
    n = visual.projected.shape[1]
    kept = Script(budget=k, padding=padding, graph_keep=graph_keep, walk=walk)(visual, query).indices
    redundancy = Graph(budget=1).redundancy(visual.projected)
    order, relevance = QueryDPP().order(visual, query, min(n, math.ceil(walk * k)))
    for crop in range(2):
        by_redundancy = sorted(range(n), key=lambda i: (redundancy[crop, i].item(), i))
        graph_set = set(by_redundancy[: max(k, math.ceil(graph_keep * n))])
        chosen = [i for i in order[crop].tolist() if i in graph_set][:k]
        candidates = {
            "dpp": order[crop].tolist(),
            "relevance": sorted(range(n), key=lambda i: (-relevance[crop, i].item(), i)),
            "graph": by_redundancy,
        }[padding]
        chosen += [i for i in candidates if i not in chosen][: k - len(chosen)]
        assert kept[crop].tolist() == sorted(chosen)


def test_relevance_runs_from_zero_to_one_and_follows_the_sign():
    visual, query = example(segments=3)
    plus = QueryDPP().relevance(visual.joint, query)
    assert plus.amin(dim=1).tolist() == [0, 0]
    assert plus.amax(dim=1).tolist() == [1, 1]
    torch.testing.assert_close(QueryDPP(sign=-1).relevance(visual.joint, query), 1 - plus)
    declared = Query(query.embeddings, sign=-1)
    torch.testing.assert_close(QueryDPP().relevance(visual.joint, declared), 1 - plus)
    image = QueryDPP(relevance_range="image").relevance(visual.joint, query)
    assert image.min() == 0
    assert image.max() == 1
    assert not torch.allclose(image, plus)


def slow_released_loop(kernel, k):
    """The loop as the released code has it, for one crop, with the projection that divides by -inf."""
    d = kernel.diagonal().clone()
    picks = []
    for _ in range(k):
        masked = d.clone()
        masked[picks] = -math.inf
        j = int(masked.argmax())
        residual = d[j].clone()
        picks.append(j)
        d_scores = d.clone()
        d_scores[picks] = -math.inf
        if residual <= 0:
            continue
        e = kernel[j].clone()
        for previous in picks[:-1]:
            coefficient = kernel[j, previous] / (d_scores[previous] + 1e-6)  # -0.0: the slip
            e = e - coefficient * kernel[previous]
        d = d - e**2 / residual
    return picks


def test_the_released_loop_is_what_the_released_code_computes():
    visual, query = example(crops=1)
    relevance = ScriptReleased(budget=1).relevance(visual.joint, query)
    unit = torch.nn.functional.normalize(visual.projected, dim=-1)
    kernel = relevance[:, :, None] * (unit @ unit.mT) * relevance[:, None, :]
    assert released_loop(kernel, 60)[0].tolist() == slow_released_loop(kernel[0], 60)


@pytest.mark.parametrize("k", [1, 5, 32, 64, 100])
def test_the_released_graph_has_no_effect(k):
    for seed in range(5):
        visual, query = example(seed=seed)
        relevance = ScriptReleased(budget=1).relevance(visual.joint, query)
        unit = torch.nn.functional.normalize(visual.projected, dim=-1)
        kernel = relevance[:, :, None] * (unit @ unit.mT) * relevance[:, None, :]
        kept = ScriptReleased(budget=k)(visual, query).indices
        assert torch.equal(kept, released_loop(kernel, k).sort(dim=1).values)


def test_the_first_released_version_is_cdpruner():
    """Up to the 1e-6 that it adds to r, which is the query module's kernel over one crop."""
    visual, query = example(crops=1)
    released = ScriptReleased(budget=30, version="first")(visual, query).indices
    assert torch.equal(released, QueryConditioned(budget=30)(visual, query).indices)


def test_merging_averages_each_dropped_token_into_its_nearest_kept_one():
    visual, _ = example(n=10, crops=1)
    tokens = visual.projected
    indices = torch.tensor([[1, 4, 7]])
    merged = merge_dropped(tokens, indices, gather_tokens(tokens, indices))
    groups = {1: [1], 4: [4], 7: [7]}
    for i in set(range(10)) - set(groups):
        near = max(groups, key=lambda j: torch.cosine_similarity(tokens[0, i], tokens[0, j], dim=0))
        groups[near].append(i)
    wanted = torch.stack([tokens[0, members].mean(dim=0) for members in groups.values()])
    torch.testing.assert_close(merged[0], wanted)

"""How Script combines its two modules, and what the released code does instead."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from script_exp.pruners import Graph, Query, QueryConditioned, QueryDPP, Script, ScriptReleased, VisualTokens
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map
from script_exp.pruners.arithmetic.merging import merge_dropped
from script_exp.pruners.arithmetic.released_script import released_loop, released_redundancy
from script_exp.pruners.arithmetic.similarity import cosines


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
    order = QueryDPP().order(visual, query, min(n, math.ceil(walk * k)))
    relevance = QueryDPP().relevance(visual, query)
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
    plus = QueryDPP().relevance(visual, query)
    assert plus.amin(dim=1).tolist() == [0, 0]
    assert plus.amax(dim=1).tolist() == [1, 1]
    torch.testing.assert_close(QueryDPP(sign=-1).relevance(visual, query), 1 - plus)
    declared = Query(query.embeddings, sign=-1)
    torch.testing.assert_close(QueryDPP().relevance(visual, declared), 1 - plus)
    image = QueryDPP(relevance_range="image").relevance(visual, query)
    assert image.min() == 0
    assert image.max() == 1
    assert not torch.allclose(image, plus)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("over", ["crop", "image"])
def test_relevance_written_out(over, normalize, sign):
    """The mean over the segments, then all tokens of a crop, or of all crops, on one scale."""
    visual, query = example(n=7, crops=3, segments=3)
    raw = []
    for crop in visual.joint.tolist():
        raw.append([])
        for patch in crop:
            products = []
            for segment in query.embeddings.tolist():
                product = sum(a * b for a, b in zip(patch, segment, strict=True))
                products.append(product / (math.hypot(*patch) * math.hypot(*segment) if normalize else 1))
            raw[-1].append(sign * sum(products) / len(products))
    wanted = []
    for crop in raw:
        scale = crop if over == "crop" else [value for other in raw for value in other]
        wanted.append([(value - min(scale)) / (max(scale) - min(scale)) for value in crop])
    module = QueryDPP(sign=sign, relevance_range=over, normalize=normalize)
    relevance = module.relevance(visual, Query(query.embeddings, sign=-sign))
    torch.testing.assert_close(relevance, torch.tensor(wanted))


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


def slow_released_redundancy(similarity):
    """n_i exp(mu_i - 0.2) over all pairs, self included; halved with the row's mean below 4 neighbors."""
    scores = []
    for row in similarity.tolist():
        edges = [value for value in row if value >= 0.2]
        score = len(edges) * math.exp(sum(edges) / len(edges) - 0.2)
        scores.append(score if len(edges) >= 4 else 0.5 * score + 0.5 * sum(row) / len(row))
    return scores


def test_the_released_graph_score_with_its_guard():
    torch.manual_seed(1)
    unit = torch.nn.functional.normalize(torch.randn(1, 40, 24), dim=-1)
    similarity = unit @ unit.mT
    degree = (similarity >= 0.2).sum(dim=-1)
    assert degree.min() < 4 <= degree.max()  # both branches
    scores = released_redundancy(similarity)[0].tolist()
    assert scores == pytest.approx(slow_released_redundancy(similarity[0]), rel=1e-5)


def test_the_figure_script_written_out():
    """r from plus the dot product; DPP and graph, least redundant, on tower features; padded by relevance."""
    visual, query = example(crops=1, segments=2)
    k = 30
    raw = -(visual.joint[0] @ query.embeddings.T).mean(dim=1)  # the sign of the model, flipped
    r = (raw - raw.min()) / (raw.max() - raw.min())
    tower = torch.nn.functional.normalize(visual.tower[0], dim=-1)
    similarity = tower @ tower.T
    picks = greedy_map((r[:, None] * similarity * r[None])[None], k)[0].tolist()
    redundancy = slow_released_redundancy(similarity)
    graph_set = sorted(range(len(r)), key=lambda i: (redundancy[i], i))[:k]
    common = [i for i in picks if i in graph_set]
    rest = sorted((i for i in range(len(r)) if i not in common), key=lambda i: (-r[i].item(), i))
    kept = ScriptReleased(budget=k, version="plot")(visual, query).indices[0].tolist()
    assert kept == sorted(common + rest[: k - len(common)])


def test_the_last_released_relevance_is_not_normalized():
    visual, query = example(crops=3, segments=5, seed=1)
    relevance = ScriptReleased(budget=1).relevance(visual.joint, query)
    chosen = set()
    for crop in range(3):
        dots = visual.joint[crop] @ query.embeddings.T
        best = dots.mean(dim=0).topk(2).indices  # half of five segments, rounded down; each crop its own
        chosen.add(frozenset(best.tolist()))
        raw = dots[:, best].mean(dim=1)
        wanted = (raw - raw.min()) / (raw.max() - raw.min() + 1e-6)
        torch.testing.assert_close(relevance[crop], wanted)
    assert len(chosen) > 1


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


def slow_released_map(kernel, k, epsilon):
    """The distinct picks of the other released loops for one crop: no threshold, the root plus epsilon."""
    residual, rows, picks = kernel.diagonal().clone(), [], []
    for _ in range(k):
        best = int(residual.argmax())  # the first NaN, if there is one
        row = kernel[best] - sum((past[best] * past for past in rows), torch.zeros(len(kernel)))
        rows.append(row / (residual[best].sqrt() + epsilon))
        residual = residual - rows[-1].square()
        residual[best] = -torch.inf
        picks.append(best)
    return set(picks)


def kernel_of(version, visual, query):
    relevance = ScriptReleased(budget=1, version=version).relevance(visual.joint, query)
    return dpp_kernel(cosines(visual.projected), relevance)[0]


@pytest.mark.parametrize(("version", "epsilon"), [("first", 0), ("build", 1e-6)])
def test_below_the_rank_the_released_loops_keep_the_same(version, epsilon):
    """The 1e-6 beside the root of a residual changes nothing there."""
    for seed in range(5):
        visual, query = example(n=120, crops=1, seed=seed)
        visual = replace(
            visual, projected=torch.randn(1, 120, 200, generator=torch.Generator().manual_seed(seed))
        )
        kept = ScriptReleased(budget=60, version=version)(visual, query).indices[0].tolist()
        assert set(kept) == slow_released_map(kernel_of(version, visual, query), 60, epsilon)


@pytest.mark.parametrize(("version", "epsilon"), [("first", 0), ("build", 1e-6)])
def test_beyond_the_rank_the_released_loops_keep_too_few_and_this_keeps_k(version, epsilon):
    visual, query = example(n=120, crops=1)
    visual = replace(visual, projected=torch.randn(1, 120, 16, generator=torch.Generator().manual_seed(0)))
    kernel = kernel_of(version, visual, query)
    released = slow_released_map(kernel, 60, epsilon)
    assert 16 <= len(released) < 60
    kept = set(ScriptReleased(budget=60, version=version)(visual, query).indices[0].tolist())
    assert len(kept) == 60
    assert slow_released_map(kernel, 14, epsilon) <= kept


def test_merging_averages_each_dropped_token_into_its_nearest_kept_one():
    visual, _ = example(n=10, crops=1)
    tokens = visual.projected
    indices = torch.tensor([[1, 4, 7]])
    merged = merge_dropped(tokens, indices)
    groups = {1: [1], 4: [4], 7: [7]}
    for i in set(range(10)) - set(groups):
        near = max(groups, key=lambda j: torch.cosine_similarity(tokens[0, i], tokens[0, j], dim=0))
        groups[near].append(i)
    wanted = torch.stack([tokens[0, members].mean(dim=0) for members in groups.values()])
    torch.testing.assert_close(merged[0], wanted)

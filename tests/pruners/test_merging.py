"""Merging, against loops over hosts and guests."""

from __future__ import annotations

import pytest
import torch
from made_visual import cosine

from script_exp.pruners.arithmetic.merging import (
    MergedTokens,
    bipartite_round,
    dropped,
    host_plus_mean,
    join_nearest,
    mean_with_host,
    raster,
)


def slow_groups(metric, hosts, guests):
    """The guests of each host: every guest goes where its cosine is highest, first host on ties."""
    groups = [[] for _ in hosts]
    for guest in guests:
        similarity = [cosine(metric[guest], metric[host]) for host in hosts]
        groups[similarity.index(max(similarity))].append(guest)
    return groups


@pytest.mark.parametrize(("n", "h"), [(2, 1), (9, 1), (9, 4), (30, 7), (30, 29)])
@pytest.mark.parametrize("seed", range(3))
def test_guests_join_the_nearest_host(n, h, seed):
    torch.manual_seed(seed)
    tokens, metric = torch.randn(3, n, 5), torch.randn(3, n, 4)
    hosts = torch.stack([torch.randperm(n)[:h] for _ in range(3)])
    guests = dropped(hosts, n) & (torch.rand(3, n) < 0.8)  # some tokens are neither
    members = join_nearest(metric, hosts, guests)
    mean, added = mean_with_host(tokens, hosts, members), host_plus_mean(tokens, hosts, members)
    for crop in range(3):
        groups = slow_groups(metric[crop], hosts[crop].tolist(), guests[crop].nonzero()[:, 0].tolist())
        for slot, group in enumerate(groups):
            assert members[crop, slot].nonzero()[:, 0].tolist() == group
            host = tokens[crop, hosts[crop, slot]]
            every = torch.stack([host, *tokens[crop, group]])
            torch.testing.assert_close(mean[crop, slot], every.mean(dim=0))
            wanted = host + tokens[crop, group].mean(dim=0) if group else host
            torch.testing.assert_close(added[crop, slot], wanted)


def test_ties_go_to_the_first_host():
    same = torch.ones(1, 6, 4)
    hosts = torch.tensor([[4, 1]])
    assert join_nearest(same, hosts, dropped(hosts, 6)).sum(dim=-1).tolist() == [[4.0, 0.0]]


def test_dropped_and_raster():
    mask = dropped(torch.tensor([[3, 0], [1, 2]]), 5)
    assert mask.tolist() == [[False, True, True, False, True], [True, False, False, True, True]]
    assert raster(mask, 3).tolist() == [[1, 2, 4], [0, 3, 4]]


def slow_round(tokens, metric, sizes, places, remove, size_weighted):
    """One round of ToMe on lists: what stays of the even ones by similarity, then the odd ones."""
    even, odd = range(0, len(tokens), 2), range(1, len(tokens), 2)
    edges = []
    for a in even:
        similarity = [cosine(metric[a], metric[b]) for b in odd]
        edges.append((max(similarity), a, odd[similarity.index(max(similarity))]))
    edges.sort(key=lambda edge: (-edge[0], edge[1]))
    result = [(tokens[a], metric[a], sizes[a], places[a]) for _, a, _ in edges[remove:]]
    for b in odd:
        group = [b, *(a for _, a, target in edges[:remove] if target == b)]
        weights = torch.tensor([float(sizes[i]) if size_weighted else 1.0 for i in group])
        mean = [
            (torch.stack([values[i] for i in group]) * weights[:, None]).sum(dim=0) / weights.sum()
            for values in (tokens, metric)
        ]
        result.append((*mean, sum(sizes[i] for i in group), places[b]))
    return [list(column) for column in zip(*result, strict=True)]


@pytest.mark.parametrize("size_weighted", [True, False])
@pytest.mark.parametrize("own_metric", [True, False])
@pytest.mark.parametrize(("n", "removes"), [(2, [1]), (3, [1, 1]), (12, [6, 3, 1]), (15, [7, 4, 2, 1])])
def test_rounds(n, removes, own_metric, size_weighted):
    torch.manual_seed(n)
    tokens, metric = torch.randn(2, n, 5), torch.randn(2, n, 4)
    merged = MergedTokens.single(tokens, metric if own_metric else None)
    slow = [
        [
            list(tokens[crop]),
            list((metric if own_metric else tokens)[crop]),
            [1] * n,
            list(range(n)),
        ]
        for crop in range(2)
    ]
    for remove in removes:
        merged = bipartite_round(merged, remove, size_weighted=size_weighted)
        slow = [slow_round(*lists, remove, size_weighted) for lists in slow]
        for crop, (features, compared, sizes, places) in enumerate(slow):
            torch.testing.assert_close(merged.tokens[crop], torch.stack(features))
            unit = torch.nn.functional.normalize(torch.stack(compared))
            torch.testing.assert_close(merged.unit[crop], unit)
            assert merged.size[crop].tolist() == sizes
            assert merged.place[crop].tolist() == places

"""Methods that merge tokens, as plain torch loops over crops and groups, each written from its description.

The rules are those in the docstrings of ``script_exp/pruners/before_llm``, at their defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from dropping_loops import OfImage, best, cosines
from torch import Tensor
from torch.nn import functional

from script_exp.pruners import Query, VisualTokens
from script_exp.pruners.arithmetic.seeded import generator
from script_exp.pruners.contract.signals import SALIENCY, Signal

Outcome = list[tuple[list[int], Tensor]]
"""Of each crop: the indices kept, ascending, and the tokens (k, d), those at the indices first."""
Loop = Callable[[VisualTokens, Query, int], Outcome]
MergingCrop = Callable[[VisualTokens, Query, int, int], tuple[list[int], Tensor]]
"""From an image, a question, the crop and k: the crop's part of an :data:`Outcome`."""


def dropping(choose: OfImage) -> Loop:
    """Return the loop of a method whose kept tokens stay as they are."""

    def loop(visual: VisualTokens, query: Query, k: int) -> Outcome:
        chosen = [sorted(own) for own in choose(visual, query, k)]
        return [(own, visual.projected[crop, own]) for crop, own in enumerate(chosen)]

    return loop


def merging(merge: MergingCrop) -> Loop:
    """Return the loop over crops of a merging method."""

    def loop(visual: VisualTokens, query: Query, k: int) -> Outcome:
        return [merge(visual, query, crop, k) for crop in range(len(visual.projected))]

    return loop


def trim(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    if visual.joint is None:
        raise ValueError("the patches' embeddings in the query encoder's space are missing")
    n = visual.projected.shape[1]
    kept = sorted(best(query.sign * (visual.joint[crop] @ query.embeddings[0]), k - 1))
    others = [i for i in range(n) if i not in kept]
    mean = visual.features[crop, others].mean(dim=0, keepdim=True)
    return kept, torch.cat([visual.projected[crop, kept], visual.enter(mean)])


def joined(metric: Tensor, hosts: list[int], guests: list[int]) -> list[list[int]]:
    """Return the guests that join each host: those of which it is the nearest by cosine."""
    groups: list[list[int]] = [[] for _ in hosts]
    unit = functional.normalize(metric, dim=-1)
    nearest = (unit[guests] @ unit[hosts].T).argmax(dim=1).tolist()
    for guest, host in zip(guests, nearest, strict=True):
        groups[host].append(guest)
    return groups


def visionzip(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    keys, x = visual.signals[Signal("keys")][crop], visual.features[crop]
    dominant = best(visual.signals[SALIENCY][crop], max(1, round(0.844 * k)))
    contextual = k - len(dominant)
    rest = [i for i in range(len(x)) if i not in dominant]
    targets = rest[:: max(1, len(rest) // max(1, contextual))][:contextual]
    kept = sorted(dominant + targets)
    tokens = visual.projected[crop, kept]
    if targets:
        groups = joined(keys, targets, [i for i in rest if i not in targets])
        for target, group in zip(targets, groups, strict=True):
            token = x[target] + x[group].mean(dim=0) if group else x[target]
            tokens[kept.index(target)] = visual.enter(token)
    return kept, tokens


def poured(visual: VisualTokens, crop: int, kept: list[int]) -> tuple[list[int], Tensor]:
    """Return PruMerge's tokens: the kept ones with their neighbors, and the sum over all others."""
    x, b = visual.features[crop], visual.signals[Signal("flat_saliency", 1)][crop]
    similarity = cosines(visual.signals[Signal("flat_keys", 1)][crop]).fill_diagonal_(-torch.inf)
    rows = []
    for i in kept:
        near = best(similarity[i], min(32, len(x) - 1))
        rows.append(x[i] + (b[near, None] * x[near]).sum(dim=0))
    others = [j for j in range(len(x)) if j not in kept]
    rows.append((b[others, None] * x[others]).sum(dim=0))
    return kept, visual.enter(torch.stack(rows))


def prumerge(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    return poured(visual, crop, sorted(best(visual.signals[Signal("flat_saliency", 1)][crop], k - 1)))


def prumerge_plus(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    b = visual.signals[Signal("flat_saliency", 1)][crop]
    kept = best(b, min(max(1, round(0.2 * k)), k - 1))
    left, spread = [i for i in range(len(b)) if i not in kept], k - 1 - len(kept)
    return poured(
        visual, crop, sorted(kept + [left[int((j + 0.5) * len(left) / spread)] for j in range(spread)])
    )


def tome(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    tokens = visual.projected[crop]
    size, place = torch.ones_like(tokens[:, :1]), torch.arange(len(tokens), device=tokens.device)
    while len(tokens) > k:
        remove = min(len(tokens) - k, len(tokens) // 2)
        unit = functional.normalize(tokens, dim=-1)
        similarity = unit[0::2] @ unit[1::2].T
        order = best(similarity.amax(dim=1), len(similarity))
        gone, stay = order[:remove], order[remove:]
        target = similarity.argmax(dim=1)[gone]
        total = (size * tokens)[1::2].index_add(0, target, (size * tokens)[0::2][gone])
        sizes = size[1::2].index_add(0, target, size[0::2][gone])
        tokens = torch.cat([tokens[0::2][stay], total / sizes])
        size, place = torch.cat([size[0::2][stay], sizes]), torch.cat([place[0::2][stay], place[1::2]])
    raster = place.argsort()
    return place[raster].tolist(), tokens[raster]


def vscan(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    if visual.grid is None:
        raise ValueError("the tokens form no grid")
    rows, columns = visual.grid
    tokens, deep = visual.projected[crop], visual.signals[SALIENCY][crop]
    shallow = best(visual.signals[Signal("saliency", 0.26)][crop], len(tokens))
    down, across = max(1, rows // 6), max(1, columns // 6)
    taken = [0] * (down * across)
    local: list[int] = []
    for i in shallow:
        window = min(i // columns // 6, down - 1) * across + min(i % columns // 6, across - 1)
        if len(local) < k // 2 and taken[window] < math.ceil(k // 2 / len(taken)):
            taken[window] += 1
            local.append(i)
    local += [i for i in shallow if i not in local][: k // 2 - len(local)]
    rest = [i for i in best(deep, len(tokens)) if i not in local]
    kept = sorted(local + rest[: k - k // 2])
    groups = joined(tokens, kept, [i for i in range(len(tokens)) if i not in kept])
    means = [tokens[[host, *group]].mean(dim=0) for host, group in zip(kept, groups, strict=True)]
    return kept, torch.stack(means)


def apet(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    x, crops = visual.features[crop], len(visual.projected)
    exact, n = x.double(), len(x)
    basis = [int(torch.randint(n, (crops, 1), generator=generator(0, visual.key))[crop])]
    nearest = torch.full((n,), torch.inf, dtype=torch.double, device=x.device)
    while len(basis) < min(10, n):
        nearest = torch.minimum(nearest, (exact - exact[basis[-1]]).square().sum(dim=1))
        basis.append(int(nearest.argmax()))
    rows = exact[basis]
    ridge = 1e-5 * torch.eye(len(basis), dtype=torch.double, device=x.device)
    errors = (exact - exact @ rows.T @ torch.linalg.inv(rows @ rows.T + ridge) @ rows).norm(dim=1)
    kept = sorted(best(errors, k))
    basis = basis[: k - 1]
    slots = sorted(sorted(kept, key=errors.tolist().__getitem__)[: len(basis)])
    hosts = [i for i in kept if i not in slots]
    groups = joined(x, hosts, [i for i in range(n) if i not in kept])
    tokens = dict(zip(slots, x[basis], strict=True))
    for host, group in zip(hosts, groups, strict=True):
        tokens[host] = x[[host, *group]].mean(dim=0)
    return kept, visual.enter(torch.stack([tokens[i] for i in kept]))


def pool(visual: VisualTokens, query: Query, crop: int, k: int) -> tuple[list[int], Tensor]:
    """Of a square grid: k = h w bins, of the shapes with h <= w the one that is nearest to a square."""
    if visual.grid is None:
        raise ValueError("the tokens form no grid")
    rows, columns = visual.grid
    down = max(h for h in range(1, math.isqrt(k) + 1) if k % h == 0)
    across = k // down
    picture = visual.projected[crop].reshape(rows, columns, -1)
    kept, tokens = [], []
    for i in range(down):
        for j in range(across):
            top, left = i * rows // down, j * columns // across
            bottom, right = -(-(i + 1) * rows // down), -(-(j + 1) * columns // across)
            tokens.append(picture[top:bottom, left:right].mean(dim=(0, 1)))
            kept.append(int((i + 0.5) * rows / down) * columns + int((j + 0.5) * columns / across))
    return kept, torch.stack(tokens)

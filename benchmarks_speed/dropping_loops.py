"""Methods that drop tokens, as plain torch loops over crops and picks, each written from its description.

The rules are those in the docstrings of ``script_exp/pruners/before_llm``, at their defaults. The loops are
what one writes first: crop after crop, and each pick waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from references import straightforward_map
from torch import Tensor
from torch.nn import functional

from script_exp.pruners import Query, VisualTokens
from script_exp.pruners.arithmetic.seeded import generator
from script_exp.pruners.contract.signals import SALIENCY, Signal

OfCrop = Callable[[VisualTokens, Query, int, int], list[int]]
"""From an image, a question, the crop and k: the indices kept of this crop, in any order."""
OfImage = Callable[[VisualTokens, Query, int], list[list[int]]]
"""From an image, a question and k: the indices kept of every crop, in any order."""


def each_crop(choose: OfCrop) -> OfImage:
    """Return the loop over crops of a rule for one crop."""

    def of_image(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
        return [choose(visual, query, crop, k) for crop in range(len(visual.projected))]

    return of_image


def best(scores: Tensor, count: int) -> list[int]:
    """Return the indices of the ``count`` highest of the scores (n,), best first, equal ones in order."""
    indices: list[int] = scores.sort(descending=True, stable=True).indices[:count].tolist()
    return indices


def cosines(tokens: Tensor) -> Tensor:
    """Return the cosines (n, n) of tokens (n, d)."""
    unit = functional.normalize(tokens, dim=-1)
    return unit @ unit.T


def divprune(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
    crops, n, _ = visual.projected.shape
    distance = (1 - cosines(visual.projected.flatten(0, 1))).fill_diagonal_(torch.inf)
    picks = [int(distance.amin(dim=0).argmax())]
    nearest = distance[picks[0]].clone()
    while len(picks) < crops * k:
        nearest[picks[-1]] = -torch.inf
        picks.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, distance[picks[-1]])
    return [[place % n for place in picks if place // n == crop] for crop in range(crops)]


def agreement(visual: VisualTokens, query: Query, crop: int) -> Tensor:
    """Return the mean cosine (n,) of each patch and the question's segments, with the sign."""
    if visual.joint is None:
        raise ValueError("the patches' embeddings in the query encoder's space are missing")
    patches = functional.normalize(visual.joint[crop], dim=-1)
    segments = functional.normalize(query.embeddings, dim=-1)
    return query.sign * (patches @ segments.T).mean(dim=-1)


def dpp(tokens: Tensor, scores: Tensor, picks: int) -> list[int]:
    """Return the DPP's first picks of tokens (n, d) with relevance (n,), in their order."""
    kernel = scores[:, None] * cosines(tokens) * scores
    order: list[int] = straightforward_map(kernel[None], picks)[0].tolist()
    return order


def cdpruner(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
    scores = torch.stack([agreement(visual, query, crop) for crop in range(len(visual.projected))])
    scores = (scores - scores.min() + 1e-6) / (scores.max() - scores.min())
    return [dpp(tokens, own, k) for tokens, own in zip(visual.projected, scores, strict=True)]


def relevance(visual: VisualTokens, query: Query, crop: int) -> Tensor:
    """Return the relevance (n,), which runs from 0 to 1 in the crop."""
    own = agreement(visual, query, crop)
    return (own - own.min()) / (own.max() - own.min())


def query_module(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    return dpp(visual.projected[crop], relevance(visual, query, crop), k)


def redundancy(tokens: Tensor) -> Tensor:
    """Return R (n,) of tokens (n, d): the graph's edges join even and odd places."""
    unit = functional.normalize(tokens, dim=-1)
    similarity = unit[0::2] @ unit[1::2].T
    result = torch.zeros(len(tokens), device=tokens.device)
    for side, rows in enumerate((similarity, similarity.T)):
        edges = rows >= 0.2
        degree = edges.sum(dim=1)
        mean = (rows * edges).sum(dim=1) / degree.clamp(min=1)
        result[side::2] = degree * torch.exp(mean - 0.2)
    return result


def graph(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    return best(-redundancy(visual.projected[crop]), k)


def script(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    tokens = visual.projected[crop]
    n = len(tokens)
    graph_set = set(best(-redundancy(tokens), max(k, math.ceil(n / 2))))
    walk = dpp(tokens, relevance(visual, query, crop), min(n, 2 * k))
    kept = [pick for pick in walk if pick in graph_set][:k]
    return kept + [pick for pick in walk if pick not in kept][: k - len(kept)]


def fastervlm(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    return best(visual.signals[SALIENCY][crop], k)


def vispruner(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    unit = functional.normalize(visual.features[crop], dim=-1)
    ranked = best(visual.signals[SALIENCY][crop], len(unit))
    important, rest = ranked[: k // 2], ranked[k // 2 :]
    diverse = k - len(important)
    while len(rest) > diverse:
        even, odd = rest[0::2], rest[1::2]
        order = best((unit[even] @ unit[odd].T).amax(dim=1), len(even))
        removed = min(8, len(rest) - diverse, len(even))
        rest = [even[i] for i in order[removed:]] + odd
    return important + rest


def covering(rows: Tensor, weights: Tensor, k: int) -> list[int]:
    """Return the tokens (columns) that cover the rows best, greedily; a gain counts by its weight (n,)."""
    covered = torch.zeros(len(rows), 1, device=rows.device)
    picks: list[int] = []
    for _ in range(k):
        gain = weights * (rows - covered).clamp(min=0).sum(dim=0)
        gain[picks] = -torch.inf
        picks.append(int(gain.argmax()))
        covered = torch.maximum(covered, rows[:, picks[-1:]])
    return picks


def scope(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    return covering(cosines(visual.features[crop]), visual.signals[SALIENCY][crop], k)


def mmtok(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    if query.words is None:
        raise ValueError("the question's words are missing")
    tokens, words = visual.projected[crop], functional.normalize(query.words, dim=-1)
    text = (words @ functional.normalize(tokens, dim=-1).T / 0.02).softmax(dim=1) / len(words)
    image = (cosines(visual.features[crop]) / 0.2).softmax(dim=1) / len(tokens)
    return covering(torch.cat([text, 0.5 * image]), torch.ones_like(tokens[:, 0]), k)


def hiprune(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    objects, deep = visual.signals[Signal("received", 0.39)][crop], visual.signals[Signal("received")][crop]
    columns = 0 if visual.grid is None else visual.grid[1]
    kept = []
    for anchor in best(objects, min(round(0.1 * k / 5), k // 5)):
        for step in (0, -1, 1, -columns, columns):
            patch = min(max(anchor + step, 0), len(deep) - 1)
            if patch not in kept:
                kept.append(patch)
    return kept + [patch for patch in best(deep, len(deep)) if patch not in kept][: k - len(kept)]


def in_turn(quotas: list[int], sizes: list[int], turns: list[int], total: int) -> list[int]:
    """Return the quotas, no larger than the sizes, with one more each in turn until they sum to ``total``."""
    quotas = [min(quota, size) for quota, size in zip(quotas, sizes, strict=True)]
    while sum(quotas) < total:
        for part in turns:
            if sum(quotas) < total and quotas[part] < sizes[part]:
                quotas[part] += 1
    return quotas


def holov(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
    crops, n, _ = visual.projected.shape
    order, total = prompt_order(visual), crops * k
    tokens = functional.normalize(visual.projected.flatten(0, 1)[order], dim=-1)
    attention = visual.signals[SALIENCY].flatten()[order]
    runs = min(crops * n, max(1, 1024 * crops * n // (576 * total)))
    parts = torch.arange(crops * n).tensor_split(runs)
    weights = []
    for part in parts:
        pairs = max(1, len(part) - 1)
        similarity = (tokens[part] @ tokens[part].T).fill_diagonal_(0)
        mean = similarity.sum(dim=1, keepdim=True) / pairs
        variance = (similarity - mean).square().sum(dim=1) / pairs
        saliency = 1000 * attention[part]
        score = saliency + 0.09 * variance * saliency.mean() / (variance.mean() + 1e-6)
        weights.append(float(score.mean()))
    quotas = [int(weight / sum(weights) * total) for weight in weights]
    turns = sorted(range(runs), key=lambda run: -weights[run])
    quotas = in_turn(quotas, [len(part) for part in parts], turns, total)
    kept: list[list[int]] = [[] for _ in range(crops)]
    for part, quota in zip(parts, quotas, strict=True):
        for index in best(attention[part], quota):
            place = order[int(part[index])]
            kept[place // n].append(place % n)
    return kept


def prompt_order(visual: VisualTokens) -> list[int]:
    """Return the places, crop * n + index, of the first crop and then of the rows of the whole picture."""
    crops, n, _ = visual.projected.shape
    if visual.tiles is None or visual.grid is None:
        return list(range(crops * n))
    (down, across), (rows, columns) = visual.tiles, visual.grid
    order = list(range(n))
    for row in range(down * rows):
        for column in range(across * columns):
            crop = 1 + row // rows * across + column // columns
            order.append(crop * n + row % rows * columns + column % columns)
    return order


def hired(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
    late = visual.signals[SALIENCY]
    crops, n = late.shape
    parts, total = crops - 1, crops * k
    if visual.tiles is None:
        return [best(own, k) for own in late]
    first = max(min(total // 2, n), total - parts * n)
    counts = [0] * parts
    for patch in best(visual.signals[Signal("saliency", 0.01)][0], n // 2):
        counts[patch * parts // n] += 1
    quotas = [count * (total - first) // max(1, sum(counts)) for count in counts]
    turns = sorted(range(parts), key=lambda part: -counts[part])
    quotas = in_turn(quotas, [n] * parts, turns, total - first)
    return [best(own, quota) for own, quota in zip(late, [first, *quotas], strict=True)]


def gprune(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    tokens = visual.projected[crop]
    similarity = cosines(tokens)
    edges = torch.where(similarity >= 0.5, similarity, 0) / 0.03
    walk = torch.where(edges.abs() < 1e-6, -5000.0, edges).softmax(dim=1)
    importance = tokens.norm(dim=1)
    for _ in range(5):
        importance = importance @ walk
    return best(importance / (walk > 0).sum(dim=1), k)


def prunesid(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    x, attention = visual.features[crop], visual.signals[SALIENCY][crop].tolist()
    n, groups = len(x), max(1, k // 4)
    table = x.double().sigmoid()
    table = (table - table.mean(dim=1, keepdim=True)).T
    directions = torch.linalg.svd(table, full_matrices=False).Vh[:groups]
    group = directions.abs().argmax(dim=0).tolist()
    similarity = cosines(x)
    threshold = (similarity.sum() - similarity.trace()) / (n * (n - 1)) * k / 32
    close = (similarity > threshold).tolist()
    members: list[list[int]] = [[] for _ in range(groups)]
    for patch in sorted(range(n), key=lambda i: -attention[i]):
        members[group[patch]].append(patch)
    orders, alive = [], []
    for own in members:
        taken: list[int] = []
        for patch in own:
            if not any(close[patch][better] for better in taken):
                taken.append(patch)
        orders.append(taken + [patch for patch in own if patch not in taken])
        alive.append(len(taken))
    quotas = prunesid_quotas([len(own) for own in members], alive, k)
    return [patch for order, quota in zip(orders, quotas, strict=True) for patch in order[:quota]]


def prunesid_quotas(sizes: list[int], alive: list[int], k: int) -> list[int]:
    """Return how many tokens each group keeps, from its size and how many of it are not suppressed."""
    most = [min(5 * math.ceil(k / 64), size, own) for size, own in zip(sizes, alive, strict=True)]
    while sum(most) < k:
        most = [min(one + 1, size) for one, size in zip(most, sizes, strict=True)]
    other = k - sum(min(1, size) for size in sizes)
    quotas, passed, before = [], 0, 0
    for size, limit, own in zip(sizes, most, alive, strict=True):
        passed += own
        end = round(passed / sum(alive) * other)
        quotas.append(min(min(1, size) + end - before, limit))
        before = end
    for group in sorted(range(len(sizes)), key=lambda group: -alive[group]):
        quotas[group] += min(most[group] - quotas[group], k - sum(quotas))
    return quotas


def stride(visual: VisualTokens, query: Query, crop: int, k: int) -> list[int]:
    n = visual.projected.shape[1]
    return [int((place + 0.5) * n / k) for place in range(k)]


def random(visual: VisualTokens, query: Query, k: int) -> list[list[int]]:
    crops, n, _ = visual.projected.shape
    return [best(own, k) for own in torch.rand(crops, n, generator=generator(0, visual.key))]

"""Visual tokens of made videos of which it is known what repeats."""

from __future__ import annotations

import torch

from script_exp.pruners import VisualTokens
from script_exp.pruners.contract.signals import SALIENCY

KINDS = ("static", "cut", "moving", "drifting", "random")


def made_video(kind, frames=8, n=12, width=10, seed=0, dtype=torch.float32):
    """Return the tokens of a video.

    ``static``: all frames are the same. ``cut``: two pictures, the second from the middle on. ``moving``:
    one token wanders over a picture, a place per frame. ``drifting``: two pictures that change with every
    frame, some places more than others. ``random``: nothing repeats.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    first, second, thing = drawn(n, width), drawn(n, width), drawn(width)
    tokens = first.expand(frames, n, width).clone()
    if kind in ("cut", "drifting"):
        tokens[frames // 2 :] = second
    if kind == "moving":
        tokens[range(frames), [t % n for t in range(frames)]] = thing
    if kind == "drifting":
        tokens += drawn(frames, n, width) * torch.linspace(0, 1, n)[:, None]
    if kind == "random":
        tokens = drawn(frames, n, width)
    saliency = drawn(frames, n).mul(2).softmax(dim=-1)
    return VisualTokens(tokens.to(dtype), signals={SALIENCY: saliency}, frames=1)


def cosine(one, other):
    """The cosine of two vectors in double precision."""
    one, other = one.double(), other.double()
    return float(one @ other / (one.norm() * other.norm()))


def by_remainders(shares, total, most, least=0):
    """Whole numbers near ``shares`` with the sum ``total``: one at a time to who lacks most."""
    counts = [min(max(int(share), least), limit) for share, limit in zip(shares, most, strict=True)]
    while sum(counts) < total:
        lacking = [
            share - count if count < limit else -1e9
            for share, count, limit in zip(shares, counts, most, strict=True)
        ]
        counts[lacking.index(max(lacking))] += 1
    while sum(counts) > total:
        over = [count - share if count > least else -1e9 for share, count in zip(shares, counts, strict=True)]
        counts[over.index(max(over))] -= 1
    return counts


def clusters_of(points, count, neighbors):
    """DPC-kNN as a loop: the centers, most central first, and the center of every point."""
    points = points.double()
    m, width = points.shape
    far = [[float((a - b).norm()) / width**0.5 for b in points] for a in points]
    density = []
    for row in far:
        near = sorted(row)[:neighbors]
        density.append(-sum(value**2 for value in near) / len(near))
    order = sorted(range(m), key=lambda i: (-density[i], i))
    gamma = []
    for i in range(m):
        denser = order[: order.index(i)]
        delta = min(far[i][j] for j in denser) if denser else max(map(max, far))
        gamma.append(float(torch.tensor(density[i]).exp()) * delta)
    centers = sorted(range(m), key=lambda i: (-gamma[i], i))[:count]
    own = [i if i in centers else min(centers, key=lambda c: far[i][c]) for i in range(m)]
    return centers, own

"""Static places of a video, averaged over the frames of their segment, and the parts that this leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.apportion import apportion
from script_exp.pruners.arithmetic.dpc_knn import dpc_knn
from script_exp.pruners.arithmetic.segments import Segment


@dataclass(frozen=True)
class Part:
    """The static tokens of a segment, or the other tokens of one frame.

    Attributes:
        tokens: (m, d), in float32.
        places: (m,) frame * n + raster index; a static token has the place of its segment's first frame.
        static: whether they are static.
    """

    tokens: Tensor
    places: Tensor
    static: bool


def fewer_static(static: Tensor, alike: Tensor, segments: Sequence[Segment], total: int) -> Tensor:
    """Return which places stay static if at least ``total`` tokens have to be left.

    Where averaging leaves fewer, the places that are least alike over time are not averaged after all.

    Args:
        static: (S, n) bool, the static places of each segment; none in a segment of one frame.
        alike: (S, n) how alike the frames of a segment are at a place.
        segments: S of them.
        total: at most T n.
    """
    saved = torch.tensor([end - begin - 1 for begin, end in segments], device=static.device)
    each = (static * saved[:, None]).flatten()
    # Waits for the device, and again below: whether any have to go, and how many, depends on the video.
    missing = total - (segments[-1][1] * static.shape[1] - int(each.sum()))
    if missing <= 0:
        return static
    order = alike.masked_fill(~static, torch.inf).flatten().sort(stable=True).indices
    undone = int((each[order].cumsum(dim=0) < missing).sum()) + 1
    fewer = static.flatten().clone()
    fewer[order[:undone]] = False
    return fewer.view_as(static)


def parts_of(tokens: Tensor, segments: Sequence[Segment], static: Tensor) -> list[Part]:
    """Return the parts of a video (T, n, d), by segment: its static tokens, then the others of its frames."""
    n = tokens.shape[1]
    parts = []
    for (begin, end), fixed in zip(segments, static, strict=True):
        here, others = fixed.nonzero()[:, 0], (~fixed).nonzero()[:, 0]  # waits for the device: their numbers
        parts.append(Part(tokens[begin:end, here].mean(dim=0), begin * n + here, static=True))
        parts += [Part(tokens[t, others], t * n + others, static=False) for t in range(begin, end)]
    return parts


def reduced(
    parts: Sequence[Part], total: int, reduce: Callable[[Part, int], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return the places (total,) and tokens (total, d) if all parts keep the same share of their tokens.

    Args:
        parts: with at least ``total`` tokens.
        total: tokens that remain; the parts' counts are rounded by largest remainders.
        reduce: from a part and a count of at least 1, returns the indices that remain and their tokens.
    """
    sizes = [len(part.places) for part in parts]
    counts = apportion([size * total / sum(sizes) for size in sizes], total, sizes)
    places, tokens = [], []
    for part, count in zip(parts, counts, strict=True):
        if count:
            indices, own = reduce(part, count)
            places.append(part.places[indices])
            tokens.append(own)
    return torch.cat(places), torch.cat(tokens)


def clustered(tokens: Tensor, count: int, neighbors: int, own: float | None) -> tuple[Tensor, Tensor]:
    """Return the centers of DPC-kNN among tokens (m, d), and what stands for their clusters (count, d).

    It is ``own`` times the center plus 1 - ``own`` times the mean of the others of its cluster, or a center
    that is alone as it is; with ``own=None`` the plain mean of the cluster.
    """
    centers, cluster = dpc_knn(tokens, count, neighbors)
    members = (cluster == torch.arange(count, device=tokens.device)[:, None]).float()
    if own is None:
        return centers, members @ tokens / members.sum(dim=-1, keepdim=True)
    others = members.scatter(1, centers[:, None], 0)
    number = others.sum(dim=-1, keepdim=True)
    merged = own * tokens[centers] + (1 - own) * (others @ tokens) / number.clamp(min=1)
    return centers, torch.where(number > 0, merged, tokens[centers])

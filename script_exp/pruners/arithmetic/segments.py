"""Cut a video into segments of frames that follow each other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from script_exp.pruners.arithmetic.dpc_knn import dpc_knn

Segment = tuple[int, int]
"""The first frame of a segment and the first one after it."""


def mean_features(tokens: Tensor) -> Tensor:
    """Return (T, d) the means of each frame's tokens (T, n, d), normalized."""
    return functional.normalize(tokens.mean(dim=1), dim=-1)


def between(begins: Sequence[int], frames: int) -> list[Segment]:
    """Return the segments that begin at frame 0 and at ``begins``, in any order."""
    edges = sorted({0, *begins})
    return list(zip(edges, [*edges[1:], frames], strict=True))


def by_cuts(likeness: Sequence[float], fewest: int, lowest: float, highest: float) -> list[Segment]:
    """Cut where a frame is unlike the one before.

    Args:
        likeness: T - 1 similarities of each frame with the one before.
        fewest: segments that the least alike frames make, whatever their similarity.
        lowest: all frames less alike are cut, too.
        highest: frames more alike are never cut.
    """
    order = sorted(range(len(likeness)), key=lambda place: likeness[place])
    cuts = [*order[: fewest - 1], *(place for place in order if likeness[place] < lowest)]
    return between([place + 1 for place in cuts if likeness[place] <= highest], len(likeness) + 1)


def by_clusters(features: Tensor, clusters: int, neighbors: int) -> list[Segment]:
    """Cut where the longest run of frames of a cluster begins; other frames belong to the segment before.

    Args:
        features: (T, d) of the frames, which DPC-kNN clusters.
        clusters: their number.
        neighbors: of DPC-kNN.
    """
    # Waits for the device: where the segments begin decides the shape of all that follows.
    own: list[int] = dpc_knn(features, clusters, neighbors)[1].tolist()
    starts = [t for t in range(len(own)) if t == 0 or own[t] != own[t - 1]]
    longest: dict[int, Segment] = {}
    for begin, end in between(starts, len(own)):
        known = longest.get(own[begin], (0, 0))
        if end - begin > known[1] - known[0]:
            longest[own[begin]] = (begin, end)
    return between([begin for begin, _ in longest.values()], len(own))

"""Divide a whole number of tokens among parts."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def apportion(shares: Sequence[float], total: int, most: Sequence[int], least: int = 0) -> list[int]:
    """Return how many of ``total`` tokens each part gets, near its share, by largest remainders.

    A part gets its share rounded down, within its limits. While tokens are left, the part that is farthest
    below its share gets one more; while too many are given, the part that is farthest above loses one. Ties
    go to the first part.

    Args:
        shares: tokens that each part should have; their sum is near ``total``.
        total: at most the sum of ``most``, and at least ``least`` for every part.
        most: the most that each part can have.
        least: the fewest that each part has to have.
    """
    counts = [min(max(int(share), least), limit) for share, limit in zip(shares, most, strict=True)]
    left = total - sum(counts)
    step = 1 if left > 0 else -1
    ends = most if left > 0 else [least] * len(counts)
    # how far a part is from its share, the farthest first
    queue = [
        (step * (count - share), part) for part, (count, share) in enumerate(zip(counts, shares, strict=True))
    ]
    queue = [entry for entry in queue if counts[entry[1]] != ends[entry[1]]]
    heapq.heapify(queue)
    for _ in range(abs(left)):
        distance, part = heapq.heappop(queue)
        counts[part] += step
        if counts[part] != ends[part]:
            heapq.heappush(queue, (distance + 1, part))
    return counts

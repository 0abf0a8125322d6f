"""PruneSID: groups of tokens along principal components, without duplicates inside a group.

Source: Fang et al., PruneSID, ICLR 2026, arXiv 2603.09480, sections on semantic groups and intra-group
suppression, with the quotas of its released code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.arithmetic.suppression import unsuppressed
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class PruneSID(Pruner):
    """Keep the most attended tokens of each group that do not resemble a better one of their group.

    With the tower's features x_i and the class token's attention a_i:

    1. V holds the first q = floor(k / 4) right singular vectors of sigmoid(X)^T (channels x patches), columns
       centered; the group of patch i is argmax_c |V_ic|.
    2. With rho the mean of cos(x_i, x_j) over all pairs, a patch is suppressed if its cosine with a patch of
       its group that has a higher a and is not suppressed itself exceeds rho k / 32. Above 1, that is no one.
    3. Each group gets a quota (:func:`quotas`) and keeps its first tokens: those not suppressed in the order
       of a, then the suppressed ones in that order.

    The released code computes V with a randomized method, so that many groups change from seed to seed; an
    exact decomposition is the deterministic form. It spends one token of the budget on the class token and
    orders the tokens by group; here all k are patches, in raster order. The paper is said to rank by |V_ic|,
    the code by a. Its dynamic budget per image is announced, but not released.

    A tower without a class token ranks by the attention that each patch receives; a model without features
    from a tower uses projected tokens.
    """

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        crops, n, _ = visual.projected.shape
        groups = max(1, k // 4)
        group = principal_groups(visual.features, groups)
        similarity = cosines(visual.features)
        mean = (similarity.sum(dim=(1, 2)) - similarity.diagonal(dim1=1, dim2=2).sum(dim=1)) / (n * (n - 1))

        place = top_indices(visual.signals[SALIENCY], n).argsort(dim=-1)
        together = group[:, :, None] == group[:, None]
        better = place[:, None] < place[:, :, None]  # in row i, the patches that are more attended than i
        close = similarity > (mean * k / 32)[:, None, None]
        survives = unsuppressed(together & better & close)

        counts = torch.zeros(crops, groups, dtype=torch.long, device=group.device)
        sizes = counts.scatter_add(1, group, torch.ones_like(group))
        survivors = counts.scatter_add(1, group, survives.long())
        turn = place + n * ~survives
        rank = (together & (turn[:, None] < turn[:, :, None])).sum(dim=-1)
        return top_indices((rank < quotas(sizes, survivors, k).gather(1, group)).long(), k)


def principal_groups(features: Tensor, components: int) -> Tensor:
    """Return the component (crops, n) along which each of the features (crops, n, v) is largest.

    There are at most as many components as centered features have dimensions. The singular vectors are
    eigenvectors of the smaller one of the two products, in float64.
    """
    values = features.double().sigmoid()
    values = values - values.mean(dim=-1, keepdim=True)
    n, channels = values.shape[1:]
    kept = max(1, min(components, channels - 1))
    product = values @ values.mT if n <= channels else values.mT @ values
    vectors: Tensor = torch.linalg.eigh(product).eigenvectors
    directions = vectors[..., -kept:].flip(-1)  # the largest value first
    if n > channels:
        directions = functional.normalize(values @ directions, dim=1)
    return directions.abs().argmax(dim=-1)


def quotas(sizes: Tensor, survivors: Tensor, k: int) -> Tensor:
    """Return how many tokens each group keeps, (crops, groups), in total ``k``.

    A group gets one token, and a part of the others in proportion to its survivors, by rounded cumulative
    sums. At most it gets min(5 ceil(k / 64), its size, its survivors), raised by one for all groups, never
    above their sizes, until that is enough in total. What is then missing goes to the group with the most
    survivors, as far as it may, then to the next.

    Args:
        sizes, survivors: (crops, groups) tokens of each group, and those not suppressed.
    """
    most = torch.minimum(sizes, survivors).clamp(max=5 * math.ceil(k / 64))
    raised = torch.arange(k + 1, device=sizes.device)
    limits = torch.minimum(most[:, :, None] + raised, sizes[:, :, None])
    enough = (limits.sum(dim=1) >= k).long().argmax(dim=-1)
    most = limits.gather(2, enough[:, None, None].expand(-1, sizes.shape[1], 1))[..., 0]

    least = sizes.clamp(max=1)
    other = k - least.sum(dim=1, keepdim=True)
    ends = (survivors.cumsum(dim=1).double() / survivors.sum(dim=1, keepdim=True) * other).round().long()
    quota = torch.minimum(least + ends.diff(dim=1, prepend=torch.zeros_like(other)), most)

    order = top_indices(survivors, survivors.shape[1])
    room = (most - quota).gather(1, order)
    before = room.cumsum(dim=1) - room
    more = torch.minimum((k - quota.sum(dim=1, keepdim=True) - before).clamp(min=0), room)
    return quota.scatter_add(1, order, more)

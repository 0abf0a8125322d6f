"""Merge visual tokens: hosts are tokens that stay, guests are tokens that join a host.

Sums over guests are matrix products, which give the same result every time; scattered additions on a GPU
would depend on the order in which its threads arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.pruners.contract.pruner import gather_tokens, top_indices


def dropped(kept: Tensor, n: int) -> Tensor:
    """Return which of the ``n`` tokens are not in ``kept`` (crops, k): (crops, n) bool."""
    every = torch.ones(len(kept), n, dtype=torch.bool, device=kept.device)
    return every.scatter_(1, kept, False)


def raster(mask: Tensor, count: int) -> Tensor:
    """Return the indices (crops, count), ascending, of the ``count`` tokens in each crop's ``mask``."""
    return top_indices(mask.float(), count)


def join_nearest(metric: Tensor, hosts: Tensor, guests: Tensor) -> Tensor:
    """Let each guest join the host with the highest cosine similarity; ties go to the first host.

    Args:
        metric: (crops, n, w) what the cosines are computed of.
        hosts: (crops, h) indices of tokens, at least one.
        guests: (crops, n) bool, which tokens join a host.

    Returns:
        (crops, h, n) float32: 1 where a token has joined a host, otherwise 0.
    """
    unit = functional.normalize(metric.float(), dim=-1)
    return members_of((unit @ gather_tokens(unit, hosts).mT).argmax(dim=-1), hosts.shape[1], guests)


def members_of(target: Tensor, hosts: int, guests: Tensor) -> Tensor:
    """Return the members (crops, hosts, n) if each guest (crops, n) joins the host ``target`` (crops, n)."""
    numbers = torch.arange(hosts, device=target.device)
    return ((target[:, None] == numbers[:, None]) & guests[:, None]).float()


def mean_with_host(tokens: Tensor, hosts: Tensor, members: Tensor) -> Tensor:
    """Return the plain mean (crops, h, d) of each host and its guests, in float32."""
    total = gather_tokens(tokens, hosts).float() + members @ tokens.float()
    return total / (1 + members.sum(dim=-1, keepdim=True))


def merge_dropped(tokens: Tensor, kept: Tensor) -> Tensor:
    """Return the kept tokens (crops, k, d), each the plain mean of itself and the dropped ones nearest to it.

    Args:
        tokens: (crops, n, d), compared by their cosine similarity.
        kept: (crops, k) indices.
    """
    members = join_nearest(tokens, kept, dropped(kept, tokens.shape[1]))
    return mean_with_host(tokens, kept, members).to(tokens.dtype)


def host_plus_mean(tokens: Tensor, hosts: Tensor, members: Tensor) -> Tensor:
    """Return each host plus the mean of its guests (crops, h, d), in float32; the host if it has none."""
    mean = members @ tokens.float() / members.sum(dim=-1, keepdim=True).clamp(min=1)
    return gather_tokens(tokens, hosts).float() + mean


@dataclass(frozen=True)
class MergedTokens:
    """A list of tokens, some of which stand for several.

    Attributes:
        tokens: (crops, m, d) features, in float32.
        size: (crops, m) how many original tokens each one stands for.
        place: (crops, m) raster index of the token that all others have joined.
        metric: (crops, m, w) what a round compares, merged like the tokens; None for the tokens themselves.
    """

    tokens: Tensor
    size: Tensor
    place: Tensor
    metric: Tensor | None = None

    @staticmethod
    def single(tokens: Tensor, metric: Tensor | None = None) -> MergedTokens:
        """Return the list before the first round: every token stands for itself."""
        crops, n, _ = tokens.shape
        place = torch.arange(n, device=tokens.device).expand(crops, n)
        return MergedTokens(tokens.float(), torch.ones_like(place).float(), place, metric)

    @property
    def unit(self) -> Tensor:
        """(crops, m, w) what a round compares, with norm 1."""
        return functional.normalize(self.tokens if self.metric is None else self.metric, dim=-1)

    def take(self, positions: Tensor) -> MergedTokens:
        """Return the tokens at ``positions`` (crops, k) of the list."""
        metric = None if self.metric is None else gather_tokens(self.metric, positions)
        tokens = gather_tokens(self.tokens, positions)
        return MergedTokens(tokens, self.size.gather(1, positions), self.place.gather(1, positions), metric)

    def every_second(self, first: int) -> MergedTokens:
        """Return the tokens at even positions (``first=0``) or odd ones (1)."""
        metric = None if self.metric is None else self.metric[:, first::2]
        return MergedTokens(self.tokens[:, first::2], self.size[:, first::2], self.place[:, first::2], metric)

    def followed_by(self, other: MergedTokens) -> MergedTokens:
        """Return one list after the other."""
        metric = None
        if self.metric is not None and other.metric is not None:
            metric = torch.cat([self.metric, other.metric], dim=1)
        return MergedTokens(
            torch.cat([self.tokens, other.tokens], dim=1),
            torch.cat([self.size, other.size], dim=1),
            torch.cat([self.place, other.place], dim=1),
            metric,
        )


def bipartite_round(merged: MergedTokens, remove: int, *, size_weighted: bool) -> MergedTokens:
    """Let the ``remove`` even tokens that resemble an odd one most join it, as in a round of ToMe.

    Args:
        merged: the list of m >= 2 tokens.
        remove: at most m // 2.
        size_weighted: whether the mean counts a token as often as it stands for an original one.

    Returns:
        The even tokens that stay, by descending similarity to their nearest odd one, then the odd ones in
        order.
    """
    even, odd = merged.every_second(0), merged.every_second(1)
    similarity = even.unit @ odd.unit.mT
    count, targets = similarity.shape[1:]
    order = top_indices(similarity.amax(dim=-1), count)
    members = members_of(similarity.argmax(dim=-1), targets, ~dropped(order[:, :remove], count))
    weights = members * even.size[:, None] if size_weighted else members
    own = odd.size if size_weighted else torch.ones_like(odd.size)
    total = own + weights.sum(dim=-1)  # of an odd token that nothing joins, its own weight
    share, shares = (own / total)[..., None], weights / total[..., None]
    grown = MergedTokens(
        share * odd.tokens + shares @ even.tokens,
        odd.size + (members @ even.size[..., None])[..., 0],
        odd.place,
        None if odd.metric is None or even.metric is None else share * odd.metric + shares @ even.metric,
    )
    return even.take(order[:, remove:]).followed_by(grown)

"""DPC-kNN: clusters around tokens that are dense and far from denser ones.

Source: Du et al., "Study on density peaks clustering based on k-nearest neighbors and principal component
analysis", Knowledge-Based Systems 2016, in the form that token-merging methods share.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dpc_knn(tokens: Tensor, count: int, neighbors: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` centers and the cluster of every token.

    With d_ij = ||x_i - x_j|| / sqrt(d): the density of a token is rho_i = exp(-mean of d_ij^2 over its
    ``neighbors`` nearest tokens, itself included). delta_i is the distance to the nearest token of higher
    density; for the densest one the largest distance of all. Centers are the tokens with the largest
    rho_i delta_i. Each token belongs to the nearest center, a center to itself. Released code breaks equal
    densities by random noise; here the first of equal tokens is the denser one.

    Args:
        tokens: (m, d).
        count: from 1 to m.
        neighbors: all tokens count if there are fewer.

    Returns:
        (count,) indices of the centers, most central first, and (m,) the number of each token's center.
    """
    width = tokens.shape[1]
    # not by a matrix product, whose rounding would part equal tokens
    distance = torch.cdist(tokens, tokens, compute_mode="donot_use_mm_for_euclid_dist") / width**0.5
    near = distance.sort(dim=-1).values[:, :neighbors]
    density = (-near.square().mean(dim=-1)).exp()
    order = density.sort(descending=True, stable=True).indices
    rank = order.argsort()
    denser = rank[None] < rank[:, None]
    delta = distance.masked_fill(~denser, torch.inf).amin(dim=-1)
    delta[order[0]] = distance.max()
    centers = (density * delta).sort(descending=True, stable=True).indices[:count]
    cluster = distance[:, centers].argmin(dim=-1)
    cluster[centers] = torch.arange(count, device=tokens.device)
    return centers, cluster

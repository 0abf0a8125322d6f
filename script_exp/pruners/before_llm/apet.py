"""ApET: the tokens that a few basis tokens cannot reconstruct.

Source: "ApET", CVPR 2026, arXiv 2602.19870, sections on the approximation error and on merging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.errors import check_whole
from script_exp.pruners.arithmetic.merging import dropped, join_nearest, mean_with_host, raster
from script_exp.pruners.arithmetic.seeded import generator
from script_exp.pruners.contract.pruner import Pruner, gather_tokens, top_indices
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_RIDGE = 1e-5


@dataclass(kw_only=True)
class ApET(Pruner):
    """Keep the k tokens with the largest error of their approximation, and merge the others into them.

    With X the tower's features of a crop's n tokens, which then enter the projector:

    1. Basis B: ``basis`` tokens by farthest point sampling (squared Euclidean distance) from a random one.
    2. Approximation: X^ = X B^T (B B^T + 1e-5 I)^-1 B, and e_i = ||x_i - x^_i||. The k tokens with the
       largest e are kept. A basis token has e near 0.
    3. The kept tokens with the lowest e, one for each basis token, are overwritten by the basis tokens, in
       raster order.
    4. Each dropped token joins the most similar of the other kept tokens (cosine), which becomes the plain
       mean of itself and its guests.

    Where a model has no tower features, X are the projected tokens and step 3 takes the mean of both tokens,
    as in the released code for Qwen2.5-VL. The method is not defined for k <= ``basis``: here the first k - 1
    basis tokens are then written, so that one host is left. The published numbers use a second cut inside the
    LLM, which is not part of this method. No attention and no class token is used. Step 2 is computed in
    float64, since basis tokens can be nearly equal.

    Attributes:
        basis: number of basis tokens.
        seed: seed of the first basis token.
    """

    basis: int = 10
    seed: int = 0
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("basis", self.basis, 1)
        check_whole("seed", self.seed, 0)

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        return top_indices(self._basis_and_errors(visual)[1], k)

    def keep(self, visual: VisualTokens, query: Query | None, k: int) -> tuple[Tensor, Tensor]:
        n = visual.projected.shape[1]
        x = visual.features.float()
        basis, errors = self._basis_and_errors(visual)
        indices = top_indices(errors, k).sort(dim=-1).values
        basis = basis[:, : k - 1]
        count = basis.shape[1]
        slots = top_indices(-errors.gather(1, indices), count).sort(dim=-1).values
        others = raster(dropped(slots, k), k - count)
        hosts = indices.gather(1, others)
        means = mean_with_host(x, hosts, join_nearest(x, hosts, dropped(indices, n)))
        written = gather_tokens(x, basis)
        rows = gather_tokens(x, indices)
        if visual.tower is None:
            written = (written + gather_tokens(rows, slots)) / 2
        order = torch.cat([slots, others], dim=1).argsort(dim=-1)
        return indices, visual.enter(gather_tokens(torch.cat([written, means], dim=1), order))

    def _basis_and_errors(self, visual: VisualTokens) -> tuple[Tensor, Tensor]:
        """Return the indices (crops, b) of the basis tokens in the order of sampling, and e (crops, n)."""
        x = visual.features.double()
        crops, n, _ = x.shape
        draws = torch.randint(n, (crops, 1), generator=generator(self.seed, visual.key))
        picks = [draws.to(x.device)]
        distance = torch.full((crops, n), torch.inf, dtype=x.dtype, device=x.device)
        for _ in range(min(self.basis, n) - 1):
            distance = torch.minimum(distance, (x - gather_tokens(x, picks[-1])).square().sum(dim=-1))
            picks.append(distance.argmax(dim=-1, keepdim=True))
        basis = torch.cat(picks, dim=1)
        rows = gather_tokens(x, basis)
        ridge = _RIDGE * torch.eye(len(picks), dtype=x.dtype, device=x.device)
        coefficients = torch.linalg.solve(rows @ rows.mT + ridge, rows @ x.mT)
        return basis, (x - coefficients.mT @ rows).norm(dim=-1)

"""PACT: drop what nothing attends to, merge the rest into clusters, and weigh these by their size.

Source: Dhouib et al., "PACT: pruning and clustering-based token reduction for faster visual language
models", CVPR 2025, arXiv 2504.08966.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from script_exp.errors import check_number
from script_exp.pruners.contract.layer_signals import (
    LayerSignal,
    LayerState,
    Rows,
    StageChoice,
    StageSizes,
    States,
)
from script_exp.pruners.contract.pruner import check_finite, top_indices
from script_exp.pruners.inside_llm.fastv import FastV

_ROW, _KEYS, _STATES = Rows("before_text", own=True, rotary=False), States("own_keys"), States("leaving")
_READ = frozenset[LayerSignal]([_ROW, _KEYS, _STATES])


@dataclass(kw_only=True)
class PACT(FastV):
    """:class:`FastV`'s schedule, with layer K's own norm, q and k on the hidden states h that enter it.

    1. The mean query of all tokens up to the image's last one, without positions, attends to these tokens. A
       token's score is that attention, mean over the heads, times ||h_i||_2; floor(``important`` m) stay.
    2. With d_ij = 1 - cosine of their keys, with positions, all heads together, the density of a token is
       sum_j exp(-(d_ij / 2)^2). By falling density, a token becomes a center if it is farther than a cutoff
       from every center before it. The others join the nearest center.
    3. What step 1 dropped joins the nearest center, too, if it is within ``recovery`` * cutoff of it.
    4. A center becomes the plain mean of its members' h and keeps its position. log(number of members) is
       added to the attention to it, in layer K and all later ones, also while decoding.

    The released code has a cutoff of 0.21, so its counts differ from image to image. Here the count is given,
    and the cutoff follows from it: by bisection, the largest one with at least as many centers, of which the
    densest are taken. If the count is above the share of step 1, that many stay there. The released code's
    mask can lose causality with padding; here it is always causal.

    Attributes:
        layer: K; 4 in the released code.
        important: share of the tokens that step 1 keeps.
        recovery: reach of step 3 in cutoffs.
    """

    layer: int = 4
    important: float = 0.55
    recovery: float = 1.5
    weighs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("important", self.important, lambda share: 0 < share <= 1, "a share in (0, 1]")
        check_number("recovery", self.recovery, lambda reach: reach >= 0, "a number of cutoffs >= 0")

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return _READ

    def choose(self, state: LayerState, count: int) -> StageChoice:
        check_finite(self, "keys or hidden states", state.signals.values())
        row, keys, states = (state.signals[name] for name in (_ROW, _KEYS, _STATES))
        scores = row.mean(dim=0) * states.norm(dim=-1)
        important = self.best(scores, max(count, int(self.important * len(scores)))).sort().values
        unit = normalize(keys, dim=-1)
        far = 1 - unit @ unit.mT
        among = far[important][:, important]
        density = (-(among / 2).square()).exp().sum(dim=-1)
        order = top_indices(density, len(density))
        # Waits for the device: each center depends on those before it, and the cutoff on all of them.
        found, cutoff = _centers(among[order][:, order].cpu().numpy(), count)
        centers = important[order[torch.as_tensor(found, device=order.device)]].sort().values
        nearest, own = far[:, centers].min(dim=-1)
        own[centers] = torch.arange(count, device=own.device)
        joins = nearest <= self.recovery * cutoff
        joins[important] = True
        members = ((own == torch.arange(count, device=own.device)[:, None]) & joins).float()
        sizes = members.sum(dim=-1)
        return StageChoice(centers, members @ states / sizes[:, None], sizes=sizes)

    def operations(self, stage: int, sizes: StageSizes) -> int:
        return 2 * sizes.visual * (sizes.visual * sizes.keys + sizes.count * sizes.hidden)


def _centers(far: NDArray[np.float32], count: int) -> tuple[list[int], float]:
    """Return ``count`` centers of tokens by falling density, from their distances, and the cutoff."""
    enough, few = -1.0, 2.0
    for _ in range(30):
        middle = max(0.0, (enough + few) / 2)
        enough, few = (middle, few) if len(_beyond(far, middle)) >= count else (enough, middle)
    return _beyond(far, enough)[:count], max(enough, 0.0)


def _beyond(far: NDArray[np.float32], cutoff: float) -> list[int]:
    """Return the tokens that are farther than ``cutoff`` from all that were returned before them."""
    found: list[int] = []
    free = np.ones(len(far), dtype=bool)
    while free.any():
        found.append(int(free.argmax()))
        free &= far[found[-1]] > cutoff
        free[found[-1]] = False
    return found

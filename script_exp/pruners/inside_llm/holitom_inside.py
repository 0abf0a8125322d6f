"""HoliTom's stage inside the LLM: FastV's choice, and what it drops is merged into what it keeps.

Source: Shao et al., "HoliTom: Holistic Token Merging for Fast Video Large Language Models", NeurIPS 2025,
arXiv 2505.21334, section on merging inside the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from script_exp.pruners.contract.layer_signals import (
    LAST_ROW,
    LayerSignal,
    LayerState,
    StageChoice,
    StageSizes,
    States,
)
from script_exp.pruners.contract.pruner import check_finite
from script_exp.pruners.inside_llm.pyramid import Pyramid

_STATES = States("leaving")
_READ = frozenset[LayerSignal]([LAST_ROW, _STATES])


@dataclass(kw_only=True)
class HoliTomInside(Pyramid):
    """Keep what the last prompt token attends to most, and halve what is dropped into the kept ones.

    The score is the attention of the layer before the stage, mean over the heads, as in FastV. Each dropped
    token joins the kept one with the most similar hidden state h (cosine). One after the other, a kept h
    becomes (h + h_dropped) / 2, so that of r that join it the last weighs 1/2, the first 2^-r, and itself
    2^-r. Positions stay.

    The method's description leaves open in which order; here it is that of the prompt. Cosines are those of
    the states before anything is merged. It is the second stage of the method, after
    :class:`~script_exp.pruners.video.holitom.HoliTom`; alone it prunes images as well.

    Attributes:
        stages: one in the released code, 18 of 28, which leaves half of what enters the LLM.
    """

    stages: Sequence[int | float] = (18 / 28,)

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return _READ

    def choose(self, state: LayerState, count: int) -> StageChoice:
        row, states = state.signals[LAST_ROW], state.signals[_STATES]
        check_finite(self, "attention or hidden states", [row, states])
        ranked, unit = self.best(self.score(row), len(states)), normalize(states, dim=-1)
        kept, dropped = ranked[:count].sort().values, ranked[count:].sort().values
        host = (unit[dropped] @ unit[kept].mT).argmax(dim=-1)
        joins = (host[:, None] == torch.arange(count, device=host.device)).float()
        behind = joins.sum(dim=0) - joins.cumsum(dim=0)  # of each host, how many join it later
        shares = joins * 0.5 ** (behind + 1)
        own = 0.5 ** joins.sum(dim=0)
        return StageChoice(kept, own[:, None] * states[kept] + shares.mT @ states[dropped])

    def operations(self, stage: int, sizes: StageSizes) -> int:
        return 4 * sizes.hidden * sizes.count * (sizes.visual - sizes.count)

"""SparseVLM: the words that have to do with the image rate its tokens, and part of what goes is merged.

Source: Zhang et al., "SparseVLM: visual token sparsification for efficient vision-language model inference",
ICML 2025, arXiv 2410.04417; version 1 of its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from script_exp.pruners.arithmetic.dpc_knn import dpc_knn
from script_exp.pruners.contract.layer_signals import (
    LayerSignal,
    LayerState,
    Rows,
    StageChoice,
    StageSizes,
    States,
)
from script_exp.pruners.contract.listed_pruner import ListedPruner
from script_exp.pruners.contract.pruner import check_finite
from script_exp.pruners.inside_llm.sparsevlm_plus import WORDS, raters

_ROWS, _LEAVING = Rows("text", heads="mean"), States("leaving")
_READ = frozenset[LayerSignal]([_ROWS, _LEAVING])


@dataclass(kw_only=True)
class SparseVLM(ListedPruner):
    """Rank by the raters' attention in the layer before the stage, and recycle the best of what is dropped.

    The raters are those of :class:`~.sparsevlm_plus.SparseVLMPlus`; the score is their attention, mean over
    the heads and the raters. Of the m0 tokens that are not kept, the floor(0.3 m0) + 1 with the highest
    scores form floor(that / 10) + 1 clusters by DPC-kNN of the hidden states that leave the layer, with as
    many neighbors as there are clusters. Their means stand behind the other visual tokens, are visual tokens
    from then on, and may be dropped or merged at the next stage. Then positions count anew, so a model whose
    positions are places in the picture is refused.

    The released code has lists of what is kept, and merged tokens come on top. Here a count has both, as
    many kept as leave room for their merged ones; with room for too few, one is kept and fewer clusters are
    formed. Names of the lists are means over the layers' outputs: 192, 128, 96 and 64 are 206.5, 145.4, 114.1
    and 82.3 as means over inputs. Clusters break ties by order, not by noise. The paper takes the number to
    drop from a rank, as in no version of the lists.
    """

    stages: Sequence[int | float] = (3 / 32, 7 / 32, 16 / 32)
    lists: ClassVar[Mapping[int, Sequence[float]]] = {
        name: [count / 576 for count in counts]
        for name, counts in {
            192: (300 + 9, 200 + 4, 110 + 3), 128: (303 + 9, 110 + 7, 36 + 3),
            96: (238 + 11, 48 + 7, 26 + 1), 64: (66 + 16, 30 + 2, 17 + 1),
        }.items()
    }  # fmt: skip

    @property
    def renumbers(self) -> bool:
        return True

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return _READ | (WORDS if stage == 0 else frozenset())

    def prepare(self, state: LayerState) -> Tensor:
        return raters(state)

    def choose(self, state: LayerState, count: int) -> StageChoice:
        rows, states = state.signals[_ROWS], state.signals[_LEAVING]
        scores = rows[state.prepared].mean(dim=0)  # waits for the device: how many words rate
        ranked = self.best(scores, len(scores))
        kept, merged = _divided(count, len(scores))
        if not merged:
            return StageChoice(ranked[:kept])
        pool = ranked[kept : kept + _recycled(len(scores) - kept)]
        check_finite(self, "hidden states", [states])
        _, cluster = dpc_knn(states[pool], merged, neighbors=merged)
        members = (cluster == torch.arange(merged, device=pool.device)[:, None]).float()
        means = members @ states[pool] / members.sum(dim=-1, keepdim=True)
        own = torch.cat([ranked[:kept], pool[members.argmax(dim=-1)]])
        return StageChoice(own, torch.cat([states[ranked[:kept]], means]), merged)

    def operations(self, stage: int, sizes: StageSizes) -> int:
        kept, merged = _divided(sizes.count, sizes.visual)
        return 2 * sizes.hidden * merged * _recycled(sizes.visual - kept)

    def preparing_operations(self, sizes: StageSizes) -> int:
        return 2 * sizes.hidden * sizes.text * sizes.visual


def _recycled(dropped: int) -> int:
    """Return how many of ``dropped`` tokens are merged with each other."""
    return dropped * 3 // 10 + 1


def _divided(count: int, visual: int) -> tuple[int, int]:
    """Return how many of ``count`` tokens are kept of ``visual`` ones, and how many are merged."""
    fits = [one for one in range(1, count) if one + _recycled(visual - one) // 10 + 1 <= count]
    kept = max(fits, default=1)
    return kept, count - kept

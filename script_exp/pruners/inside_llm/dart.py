"""DART: keep a few pivots and, for each of them, the visual tokens that are least like it.

Source: Wen et al., "Stop looking for important tokens in multimodal language models: duplication matters
more", EMNLP 2025, arXiv 2502.11494.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from script_exp.errors import check_whole
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, StageSizes, States
from script_exp.pruners.contract.pruner import check_finite, top_indices
from script_exp.pruners.inside_llm.fastv import FastV


@dataclass(kw_only=True)
class DART(FastV):
    """:class:`FastV`'s schedule with a choice that reads no attention.

    Pivots are the visual and the text tokens with the largest L1 norm of their keys in layer K - 1, with
    positions, heads side by side (K = ``layer``). The visual pivots stay. Then each pivot in turn takes T
    visual tokens, neither pivots nor taken, with the lowest cosine to it. What is compared are the hidden
    states that leave layer K - 1, after the LLM's final norm.

    The released code keeps 4 + 8 T tokens and visits the pivots in the order of a hash set. Here, the visual
    pivots come first, each kind in the order of the prompt, and the first pivots take one token more where
    count - 4 is no multiple of 8, so that the count is met. Where that leaves a pivot nothing to take
    (count < 12), fewer visual pivots are used: a third of the count, at least 1.

    Attributes:
        visual_pivots: 4 in the released code.
        text_pivots: 4 in the released code, of the text behind the image, as many as it has.
    """

    visual_pivots: int = 4
    text_pivots: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("visual_pivots", self.visual_pivots, lowest=1)
        check_whole("text_pivots", self.text_pivots, lowest=0)

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset(States(kind, of) for kind in ("keys", "normed") for of in ("visual", "text"))

    def select(self, state: LayerState, count: int) -> Tensor:
        check_finite(self, "keys or hidden states", state.signals.values())
        pivots = [
            top_indices(state.signals[States("keys", of)].abs().sum(dim=-1), most).sort().values
            for of, most in (("visual", self._visual_pivots(count)), ("text", self.text_pivots))
        ]
        visual, text = (normalize(state.signals[States("normed", of)], dim=-1) for of in ("visual", "text"))
        cosines = torch.cat([visual[pivots[0]], text[pivots[1]]]) @ visual.mT
        cosines[:, pivots[0]] = torch.inf
        kept, left = [pivots[0]], count - len(pivots[0])
        for turn, cosine in enumerate(cosines):
            own = left // len(cosines) + int(turn < left % len(cosines))
            taken = top_indices(-cosine, own)
            cosines[:, taken] = torch.inf
            kept.append(taken)
        return torch.cat(kept)

    def operations(self, stage: int, sizes: StageSizes) -> int:
        pivots = self._visual_pivots(sizes.count) + min(self.text_pivots, sizes.text)
        return 2 * pivots * sizes.visual * sizes.hidden

    def _visual_pivots(self, count: int) -> int:
        every = self.visual_pivots + self.text_pivots
        return self.visual_pivots if count >= self.visual_pivots + every else max(1, count // 3)

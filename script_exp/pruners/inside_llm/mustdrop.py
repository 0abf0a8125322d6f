"""MustDrop: at four depths, keep what the text attends to, and what is key to the vision tower.

Source: Liu et al., "Multi-stage vision token dropping: towards efficient multimodal large language model",
2024, arXiv 2411.10803; its stage inside the LLM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import check_number
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, Rows
from script_exp.pruners.contract.pruner import top_indices
from script_exp.pruners.contract.signals import SALIENCY, Reads
from script_exp.pruners.inside_llm.pyramiddrop import PyramidDrop

_ROWS = Rows("text", heads="mean")


@dataclass(kw_only=True)
class MustDrop(PyramidDrop):
    """Rank by the text's attention in the layer before the stage, mean over the heads; a key set stays first.

    The released code drops a token if the sum of its column is below g of that of all visual columns, its
    largest entry is below t, and it is not in the key set: the ceil(0.08 N) of the prompt's N visual tokens
    that the tower's class token attends to most. So its counts differ from image to image. Here the count is
    given, and g and t follow from it: with ``ratio`` = t / g, a token's score, max(ratio * share of the sum,
    largest entry), is the t from which on it would go. The key set stays as long as the count has room for
    it, its best by the same score. What stages leave falls as in :class:`~.pyramid.Pyramid`; shares of the
    depth that round to one layer are one stage. Positions count anew, as released, or stay.

    Not built: windows of similar patches that merge inside the tower after its first layer, and the caches
    of layers 2 to 14, which released code cuts to the last stage's tokens while decoding. Here each layer
    keeps what it saw. The tower's attention is that of the layer whose output the model reads.

    Attributes:
        ratio: t / g; 1 in the setting for 192 tokens, 0.83 for 128, 0.91 for 64 (TextVQA).
        key: share of the prompt's tokens in the key set.
    """

    stages: Sequence[int | float] = (3 / 32, 7 / 32, 11 / 32, 15 / 32)
    ratio: float = 1.0
    key: float = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ratio", self.ratio, lambda value: value > 0, "a number > 0: t / g")
        check_number("key", self.key, lambda share: 0 <= share <= 1, "a share of the tokens in [0, 1]")

    @property
    def reads(self) -> Reads:
        return Reads(signals=frozenset([SALIENCY]))

    def stage_layers(self, layers: int) -> Sequence[int]:
        found: list[int] = []
        for stage, layer in zip(self.stages, super().stage_layers(layers), strict=True):
            if not (isinstance(stage, float) and layer in found):
                found.append(layer)
        return found

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([_ROWS])

    def score(self, attention: Tensor) -> Tensor:
        # A sliding window may hide all visual tokens, and then all are 0.
        sums, tiny = attention.sum(dim=0), torch.finfo(attention.dtype).tiny
        return torch.maximum(self.ratio * sums / sums.sum().clamp(min=tiny), attention.amax(dim=0))

    def select(self, state: LayerState, count: int) -> Tensor:
        ranked = self.best(self.score(state.signals[_ROWS]), len(state.places))
        attended = state.known.tower[SALIENCY]
        is_key = torch.zeros_like(attended, dtype=torch.bool)
        is_key[top_indices(attended, math.ceil(self.key * len(attended)))] = True
        return ranked[top_indices(is_key[state.places][ranked], count)]

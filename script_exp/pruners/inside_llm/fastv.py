"""FastV: inside the LLM, keep the visual tokens that the last prompt token attends to most.

Source: Chen et al., "An image is worth 1/2 tokens after layer 2: plug-and-play inference acceleration for
large vision-language models", ECCV 2024, arXiv 2403.06764.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.errors import check_whole
from script_exp.pruners.contract.layer_pruner import LayerPruner


@dataclass(kw_only=True)
class FastV(LayerPruner):
    """Score tokens by the last prompt token's attention in layer K - 1, mean over heads (K = ``layer``).

    Kept tokens keep their original positions. Tokens are dropped once, at prefill, and stay dropped during
    decoding. The released path without a cache, which prunes again at every step, is not built here.

    Attributes:
        layer: K, 0-based index of the first decoder layer that sees fewer tokens; 2 in the paper.
    """

    layer: int = 2
    stages_key: ClassVar[str] = "layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("layer", self.layer, lowest=1)

    def stage_layers(self, layers: int) -> Sequence[int]:
        return [self.layer]

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        if self.budget_as == "after":
            return [budget]
        before, behind = spans
        return [round((budget * (before + behind) - before * tokens) / behind)]

    def score(self, attention: Tensor) -> Tensor:
        return attention.mean(dim=0)

"""FastV: inside the LLM, keep the visual tokens that the last prompt token attends to.

Source: Chen et al., "An image is worth 1/2 tokens after layer 2: plug-and-play inference acceleration for
large vision-language models", ECCV 2024, arXiv 2403.06764.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from script_exp.pruners.layer import LayerPruner


@dataclass(kw_only=True)
class FastV(LayerPruner):
    """Score = attention of the last prompt token in layer K - 1, mean over heads (K = ``layer``).

    Kept tokens keep their original positions. Tokens are dropped once, at prefill, and stay dropped while
    decoding (the released code without a cache prunes anew at every step).

    Attributes:
        layer: K, 2 in the paper.
    """

    layer: int = 2

    def score(self, attention: Tensor) -> Tensor:
        return attention.mean(dim=0)

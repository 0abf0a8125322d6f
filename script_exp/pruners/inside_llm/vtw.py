"""VTW: from one layer on, the LLM goes on without any visual token.

Source: Lin et al., "Boosting multimodal large language models with visual tokens withdrawal for rapid
inference", AAAI 2025, arXiv 2405.05803.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from script_exp.errors import SettingError
from script_exp.pruners.contract.budget import tokens_kept
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LayerSignal


@dataclass(kw_only=True)
class VTW(LayerPruner):
    """Withdraw all visual tokens before layer K; the layers before it keep theirs, also while decoding.

    K follows from the budget, which is a mean over the layers: n K / L is as near to it as whole layers come;
    270 of 576 tokens in 32 layers is the released code's K = 15. Nothing is read or ranked, and the text
    keeps its positions, which is one of the released code's two options. The paper searches K on a few
    samples: the first from which the divergence of the first answer token stays below a bound.
    """

    stages_key: ClassVar[str] = "budget"
    fewest: ClassVar[int] = 0
    meanings: ClassVar[tuple[str, ...]] = ("average",)

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset()

    def stage_layers(self, layers: int) -> Sequence[int]:
        return []  # they depend on the budget

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        return [0] * (len(spans) - 1)

    def schedule(self, tokens: int, layers: int) -> dict[int, int]:
        budget = tokens_kept(self.budget, tokens)
        first = round(budget * layers / tokens)
        if first < 1:
            lowest = tokens // (2 * layers) + 1
            expected = (
                f"at least {lowest} as an average over {layers} layers, since the first sees all {tokens}"
            )
            raise SettingError("budget", self.budget, expected)
        return {} if first == layers else {first: 0}

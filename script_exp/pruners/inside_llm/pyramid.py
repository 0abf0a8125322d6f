"""Pyramid: at several depths of the LLM, keep the visual tokens that the last prompt token attends to most.

Source: Xing et al., "PyramidDrop: accelerating your large vision-language models via pyramid visual
redundancy reduction", 2024, arXiv 2410.17247.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.errors import SettingError
from script_exp.pruners.contract.layer_pruner import LayerPruner

_STAGES = "a list of layers (whole numbers >= 1) or shares of the depth in (0, 1)"


@dataclass(kw_only=True)
class Pyramid(LayerPruner):
    """Stage i leaves n r^i of n visual tokens; the ratio r follows from the budget.

    If the budget is an average, the ratio brings the mean over the layers as close to it as rounded counts
    allow; the budget 270 of 576 in 32 layers is the paper's r = 1/2. With one stage this is FastV.

    PyramidDrop ranks by the last instruction token's attention to the visual tokens, computed with the *next*
    layer's normalization, q and k, and renumbers the kept positions (``pyramiddrop.py``). Here the attention
    is that of the layer before the stage, and kept tokens keep their positions. Both are as in FastV, so that
    schedules are compared under one ranking.

    Attributes:
        stages: the layers before which tokens are dropped, ascending: 0-based indices, or shares of the
            depth, rounded to a layer. The paper uses 8, 16 and 24 of 32.
    """

    stages: Sequence[int | float] = (0.25, 0.5, 0.75)
    stages_key: ClassVar[str] = "stages"

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = isinstance(self.stages, list | tuple) and self.stages and all(map(_is_stage, self.stages))
        if not valid:
            raise SettingError("stages", self.stages, _STAGES)
        self.stages = tuple(self.stages)

    def stage_layers(self, layers: int) -> Sequence[int]:
        return [
            min(max(round(stage * layers), 1), layers - 1) if isinstance(stage, float) else stage
            for stage in self.stages
        ]

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        stages = len(spans) - 1
        if self.budget_as == "after":
            return _geometric(tokens, (budget / tokens) ** (1 / stages), stages)
        wanted = budget * sum(spans) - spans[0] * tokens

        def excess(ratio: float) -> int:
            counts = _geometric(tokens, ratio, stages)
            return sum(span * count for span, count in zip(spans[1:], counts, strict=True)) - wanted

        low, high = 0.0, 1.0  # the sum rises with the ratio in steps: bisect to the ratios on both sides
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
        return _geometric(tokens, min(low, high, key=lambda ratio: abs(excess(ratio))), stages)

    def score(self, attention: Tensor) -> Tensor:
        return attention.mean(dim=0)


def _geometric(tokens: int, ratio: float, stages: int) -> list[int]:
    return [max(1, round(tokens * ratio**stage)) for stage in range(1, stages + 1)]


def _is_stage(stage: object) -> bool:
    if isinstance(stage, bool) or not isinstance(stage, int | float):
        return False
    return stage >= 1 if isinstance(stage, int) else 0 < stage < 1

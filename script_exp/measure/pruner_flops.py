"""Floating-point operations of a method that chooses before the LLM, counted by running it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


class PrunerOperations:
    """Counts a pruner's operations by running it once for every input size, or every input if it is adaptive.

    Those of a method that compares the frames of a video vary, too, with what happens in it. A layer pruner
    counts as 0 here; ``layer_flops.py`` counts what it does inside the LLM.
    """

    def __init__(self) -> None:
        self._counted: dict[tuple[Any, ...], int] = {}

    def __call__(self, pruner: Pruner | LayerPruner, visual: VisualTokens, query: Query | None) -> int:
        if isinstance(pruner, LayerPruner):
            return 0
        asked = (
            () if query is None else (len(query.embeddings), 0 if query.words is None else len(query.words))
        )
        size = pruner.budget, tuple(visual.projected.shape), *asked
        if pruner.adaptive or pruner.needs_frames or size not in self._counted:
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                pruner(visual, query)
            self._counted[size] = int(counter.get_total_flops())
        return self._counted[size]

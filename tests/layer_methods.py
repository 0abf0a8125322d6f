"""Every method inside the LLM as it is described, slowly, for :func:`layer_reference.reference`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from layer_reference import Stage, attention, best, projected
from torch import Tensor

from script_exp.pruners import DART, VTW, LayerPruner, PyramidDrop


@dataclass(frozen=True)
class Method:
    """A pruner for 36 visual tokens and 6 layers, and which of the visual tokens stay at a stage."""

    pruner: LayerPruner
    choose: Callable[[Stage], Tensor]
    renumber: bool = False


def next_layer(stage: Stage) -> Tensor:
    own = attention(stage.own, stage.hidden, stage.rotary, stage.mask)
    return best(own[:, stage.text[-1], stage.visual].mean(dim=0), stage.count)


def none(stage: Stage) -> Tensor:
    return stage.visual[:0]


def dart(stage: Stage) -> Tensor:
    """Token by token, for 4 pivots of each kind, or fewer visual ones."""
    _, keys = projected(stage.block, stage.taken[0], stage.taken[1])
    sizes = keys.abs().sum(dim=(0, 2))
    states = stage.llm.norm(stage.hidden)[0]
    visual = 4 if stage.count >= 12 else max(1, stage.count // 3)
    pivots = [
        sorted(best(sizes[of], most).tolist()) for of, most in ((stage.visual, visual), (stage.text, 4))
    ]
    kept = list(pivots[0])
    columns = [int(stage.visual[pivot]) for pivot in pivots[0]] + [int(stage.text[p]) for p in pivots[1]]
    rest = stage.count - len(kept)
    for turn, column in enumerate(columns):
        for _ in range(rest // len(columns) + (turn < rest % len(columns))):
            free = [place for place in range(len(stage.visual)) if place not in kept]
            cosines = [
                torch.cosine_similarity(states[column], states[stage.visual[place]], dim=0).item()
                for place in free
            ]
            kept.append(free[cosines.index(min(cosines))])
    return torch.tensor(kept)


METHODS = {
    "pyramiddrop": Method(PyramidDrop(budget=22), next_layer, renumber=True),
    "pyramiddrop_keep": Method(
        PyramidDrop(budget=3, stages=[1, 2, 5], budget_as="after", positions="keep"), next_layer
    ),
    "vtw": Method(VTW(budget=18), none),
    "dart": Method(DART(budget=18, budget_as="after"), dart),
    "dart_few": Method(DART(budget=7, layer=3, budget_as="after"), dart),
}

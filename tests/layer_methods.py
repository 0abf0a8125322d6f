"""Every method inside the LLM as it is described, slowly, for :func:`layer_reference.reference`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from layer_reference import Stage, attention, best
from torch import Tensor

from script_exp.pruners import LayerPruner, PyramidDrop


@dataclass(frozen=True)
class Method:
    """A pruner for 36 visual tokens and 6 layers, and which of the visual tokens stay at a stage."""

    pruner: LayerPruner
    choose: Callable[[Stage], Tensor]
    renumber: bool = False


def next_layer(stage: Stage) -> Tensor:
    own = attention(stage.own, stage.hidden, stage.rotary, stage.mask)
    return best(own[:, stage.text[-1], stage.visual].mean(dim=0), stage.count)


METHODS = {
    "pyramiddrop": Method(PyramidDrop(budget=22), next_layer, renumber=True),
    "pyramiddrop_keep": Method(
        PyramidDrop(budget=3, stages=[1, 2, 5], budget_as="after", positions="keep"), next_layer
    ),
}

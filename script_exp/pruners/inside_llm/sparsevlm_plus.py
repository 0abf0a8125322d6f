"""SparseVLM+: the words of the question that have to do with the image rate its tokens at three depths.

Source: Zhang et al., "SparseVLM: visual token sparsification for efficient vision-language model inference",
ICML 2025, arXiv 2410.04417; the version 2.0 of its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from script_exp.errors import check_whole
from script_exp.pruners.contract.layer_signals import LayerSignal, LayerState, Rows, StageSizes, States
from script_exp.pruners.contract.listed_pruner import ListedPruner

_ROWS = Rows("text")
WORDS = frozenset(States("embeddings", of) for of in ("visual", "text"))
_PLACES = frozenset(States("ones", of) for of in ("visual", "text"))


@dataclass(kw_only=True)
class SparseVLMPlus(ListedPruner):
    """Rank by the raters' attention in the layer before the stage, corrected for distance, in some heads.

    With H_v and H_t the visual and text tokens that enter the LLM, text tokens whose column of
    softmax(H_v H_t^T), mean over the visual tokens, is above the mean of all columns are raters. At each
    stage the raters' attention is divided by w = (2 / sqrt(d)) sum_i cos(Delta theta_i), what two vectors of
    ones would have at that distance. The ``heads`` heads with the largest sum over raters and visual tokens
    are averaged, then the raters. Nothing is merged, and positions stay.

    Where no text token is above the mean, all are raters. The released code divides by a w that is negative
    from distance 1707 on (d = 128, base 1e4), which turns the ranking around; here w is at least a tenth of
    w(0) = sqrt(d), less than at any distance up to 700. The paper takes the number to drop from a rank; the
    released code has lists, whose names are means over the layers' outputs: 192, 128, 96 and 64 are 206.8,
    144.1, 113.9 and 81.8 as means over inputs.

    Attributes:
        heads: 14 in the released code, for any model; all if the model has fewer.
    """

    stages: Sequence[int | float] = (3 / 32, 7 / 32, 16 / 32)
    heads: int = 14
    lists: ClassVar[Mapping[int, Sequence[float]]] = {
        name: [count / 576 for count in counts]
        for name, counts in {
            192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20),
        }.items()
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("heads", self.heads, lowest=1)

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset({_ROWS}) | _PLACES | (WORDS if stage == 0 else frozenset())

    def prepare(self, state: LayerState) -> Tensor:
        return raters(state)

    def select(self, state: LayerState, count: int) -> Tensor:
        weight = pull(*(state.signals[States("ones", of)] for of in ("text", "visual")))
        # Waits for the device: how many words rate.
        corrected = (state.signals[_ROWS] / weight)[:, state.prepared]
        sums = corrected.sum(dim=(1, 2))
        chosen = sums.sort(descending=True, stable=True).indices[: self.heads]
        return self.best(corrected[chosen].mean(dim=(0, 1)), count)

    def operations(self, stage: int, sizes: StageSizes) -> int:
        return 2 * sizes.text * sizes.visual * sizes.head

    def preparing_operations(self, sizes: StageSizes) -> int:
        return 2 * sizes.text * sizes.visual * sizes.hidden


def pull(text: Tensor, visual: Tensor) -> Tensor:
    """Return w (text, visual), at least a tenth of w(0), of ones with positions (text, d), (visual, d)."""
    largest = text.shape[-1] ** 0.5
    weight: Tensor = text @ visual.mT / largest
    return weight.clamp(min=largest / 10)


def raters(state: LayerState) -> Tensor:
    """Return which text tokens rate, (text,) bool, from :data:`WORDS`; all if none is above the mean."""
    visual, text = (state.signals[States("embeddings", of)] for of in ("visual", "text"))
    rating = (visual @ text.mT).softmax(dim=-1).mean(dim=0)
    above = rating > rating.mean()
    return above | ~above.any()

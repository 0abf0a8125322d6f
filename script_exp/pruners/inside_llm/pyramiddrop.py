"""PyramidDrop: at several depths, keep what the last prompt token would attend to in the next layer.

Source: Xing et al., "PyramidDrop: accelerating your large vision-language models via pyramid visual
redundancy reduction", CVPR 2025, arXiv 2410.17247.
"""

from __future__ import annotations

from dataclasses import dataclass

from script_exp.errors import check_choice
from script_exp.pruners.contract.layer_signals import LayerSignal, Rows
from script_exp.pruners.inside_llm.pyramid import Pyramid


@dataclass(kw_only=True)
class PyramidDrop(Pyramid):
    """:class:`Pyramid`'s schedule with the released code's ranking and positions.

    The states that enter a stage's first layer pass that layer's own norm, q and k. Tokens are ranked by the
    attention of the last prompt token (heads, m), mean over the heads. Afterwards, the remaining tokens are
    numbered consecutively, and decoding goes on from there.

    The released code ranks the first image of a prompt alone and needs padding on the right; here, all
    visual tokens of a prompt are ranked together. Its counts are floor(n r^i), here they are rounded.

    Attributes:
        positions: ``renumber`` or ``keep`` for what a stage leaves. Models whose positions are places in the
            picture (Qwen2.5-VL) can only keep them.
    """

    positions: str = "renumber"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("positions", self.positions, ("renumber", "keep"))

    @property
    def renumbers(self) -> bool:
        return self.positions == "renumber"

    def reads_at(self, stage: int) -> frozenset[LayerSignal]:
        return frozenset([Rows("last", own=True)])

"""MMTok: the tokens that cover the question's words and the image.

Source: "MMTok: Multimodal Coverage Maximization for Efficient Inference of VLMs", ICLR 2026, arXiv
2508.18264, section on multimodal coverage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import check_number
from script_exp.pruners.arithmetic.coverage import greedy_coverage
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class MMTok(Pruner):
    """Keep the tokens that cover the question's m words and all n tokens of the image best.

    With the words e_r and the projected tokens p_j in the LLM's input space, and the tower's features x_i,

        P_rj = softmax_j(cos(e_r, p_j) / t) / m,   Q_ij = softmax_j(cos(x_i, x_j) / v) / n,

    the rows of P stand above those of alpha Q in one matrix C. Each step picks the token that adds most to
    sum_r max_{j picked} C_rj: greedy coverage, within 1 - 1/e of the best set.

    As in the released code, tokens that lie wholly in the padding of LLaVA-1.5's square picture are not
    picked; where the picture alone has fewer than k, padding makes up the number. The released Qwen2.5-VL
    version uses t = 0.01, all words of the question, and the mean of the tower's four features of each token
    for x; here the words are chosen alike for all models, and a model without features from a tower compares
    projected tokens. No class token is needed.

    Attributes:
        text_temperature: t.
        vision_temperature: v.
        alpha: weight of the image's coverage; 0 covers the words alone.
    """

    text_temperature: float = 0.02
    vision_temperature: float = 0.2
    alpha: float = 0.5
    needs_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("text_temperature", "vision_temperature"):
            check_number(name, getattr(self, name), lambda value: value > 0, "a number above 0")
        check_number("alpha", self.alpha, lambda value: value >= 0, "a number of at least 0")

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        if query is None or query.words is None:
            raise ValueError("the question's words are missing")
        tokens = functional.normalize(visual.projected, dim=-1)
        words = functional.normalize(query.words, dim=-1) @ tokens.mT
        text = (words / self.text_temperature).softmax(dim=-1) / words.shape[1]
        image = (cosines(visual.features) / self.vision_temperature).softmax(dim=-1) / tokens.shape[1]
        rows = torch.cat([text, self.alpha * image], dim=1)
        return greedy_coverage(rows, k, last=_padding(visual))


def _padding(visual: VisualTokens) -> Tensor | None:
    """Return (n,) true for the tokens of a crop that lie wholly in the padding; None if there is none."""
    if visual.padding is None or visual.grid is None:
        return None
    (rows, columns), (top, bottom, left, right) = visual.grid, visual.padding
    mask = torch.ones(rows, columns, dtype=torch.bool, device=visual.projected.device)
    mask[top : rows - bottom, left : columns - right] = False
    return mask.flatten()

"""FasterVLM: the patches that the class token attends to.

Source: Zhang et al., "[CLS] Attention is All You Need for Training-Free Visual Token Pruning: Make VLM
Inference Faster", arXiv 2412.01818 v1, section on pruning by [CLS] attention.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from script_exp.pruners.contract.pruner import ScorePruner
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens


@dataclass(kw_only=True)
class FasterVLM(ScorePruner):
    """Keep the k patches with the highest a_i, the class token's attention to patch i.

    a is the mean over the heads in the tower's layer whose output the model reads (index 22 of CLIP
    ViT-L/14-336). The softmax runs over all tokens, the class token included. The question is not used.

    A tower without a class token (SigLIP, Qwen2.5-VL), which the released code does not cover, ranks by the
    attention that each patch receives. HiRED does the same as FasterVLM on LLaVA-1.5.
    """

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def score(self, visual: VisualTokens, query: Query | None) -> Tensor:
        return visual.signals[SALIENCY]

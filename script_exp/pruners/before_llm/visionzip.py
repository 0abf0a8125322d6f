"""VisionZip: the patches that the tower attends to, and contextual tokens for the rest.

Source: Yang et al., "VisionZip: longer is better but not necessary in vision language models", CVPR 2025,
arXiv 2412.04467, section on dominant token selection and contextual token merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from script_exp.errors import SettingError, check_choice, check_number, check_whole
from script_exp.pruners.arithmetic.merging import dropped, host_plus_mean, join_nearest, raster
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

KEYS, CLASS_TOKEN = Signal("keys"), Signal("class_token")


@dataclass(kw_only=True)
class VisionZip(Pruner):
    """Keep D dominant patches, and merge the others into C = k - D contextual tokens.

    1. Dominant are the patches with the highest attention a_i of the class token.
    2. Of the F other patches, in raster order, every floor(F / C)-th is a target, C in all.
    3. Each of the rest joins the target whose attention key (mean over the heads) is nearest by cosine. A
       target h_t with guests G_t becomes h_t + mean of G_t: the mean is added, as in the released code, so
       its norm about doubles. h are the tower's features; the projector follows.

    In the released code, the class token is one of the D, and the order is [class token, dominant in raster
    order, contextual], which is ``layout=official``: of all crops, class tokens first and contextual last. By
    default, a merged token has the place of its target and the class token gives its place to a D-th patch.
    Where a tower has no class token, the saliency is the attention that a patch receives, as the paper says.

    Attributes:
        dominant: D, as a share of the budget or a count. 0.844 gives the published splits: 162 + 30, 108 + 20
            and 54 + 10 of 192, 128 and 64 tokens.
        contextual: C, where it is to be checked against the budget; null for what D leaves.
        layout: ``in_place``, or ``official``, where one dominant token is a patch, as a crop has to keep one.
    """

    dominant: int | float = 0.844
    contextual: int | None = None
    layout: str = "in_place"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.dominant, float):
            share = "a share of the budget in (0, 1), or a whole number of tokens >= 1"
            check_number("dominant", self.dominant, lambda v: 0 < v < 1, share)
        else:
            check_whole("dominant", self.dominant, 1)
        if self.contextual is not None:
            check_whole("contextual", self.contextual, 0)
        check_choice("layout", self.layout, ("in_place", "official"))

    @property
    def aggregates(self) -> bool:
        return self.layout == "official"

    def leading(self, k: int) -> int:
        return int(self.aggregates and self.split(k)[0] > 1)

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY, KEYS, *([CLASS_TOKEN] if self.aggregates else [])])

    def kept_of(self, tokens: int) -> int:
        k = super().kept_of(tokens)
        if k < tokens:
            self.split(k)
        return k

    def split(self, k: int) -> tuple[int, int]:
        """Return D and C.

        Raises:
            SettingError: if they do not add up to k.
        """
        count = isinstance(self.dominant, int)
        dominant = int(self.dominant) if count else max(1, round(self.dominant * k))
        if dominant > k:
            raise SettingError("dominant", self.dominant, f"at most {k}, the budget")
        if self.contextual not in (None, k - dominant):
            raise SettingError(
                "contextual", self.contextual, f"{k - dominant}: {k} tokens less {dominant} dominant ones"
            )
        return dominant, k - dominant

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        dominant, targets = self._groups(visual, k)
        return dominant if self.aggregates else torch.cat([dominant, targets], dim=1)

    def output(self, visual: VisualTokens, indices: Tensor) -> Tensor:
        n = visual.projected.shape[1]
        kept = super().output(visual, indices)
        dominant, targets = self._groups(visual, self.kept_of(n))
        extra = kept[:, :0]
        if self.aggregates and dominant.shape[1] < self.split(self.kept_of(n))[0]:
            extra = visual.enter(visual.signals[CLASS_TOKEN])[:, None]
        if targets.shape[1] == 0:
            return torch.cat([kept, extra], dim=1)
        guests = dropped(torch.cat([dominant, targets], dim=1), n)
        members = join_nearest(visual.signals[KEYS], targets, guests)
        contextual = visual.enter(host_plus_mean(visual.features, targets, members))
        if self.aggregates:
            return torch.cat([kept, extra, contextual], dim=1)
        slots = torch.searchsorted(indices, targets.contiguous())
        return kept.scatter(1, slots[..., None].expand_as(contextual), contextual)

    def _groups(self, visual: VisualTokens, k: int) -> tuple[Tensor, Tensor]:
        """Return the dominant patches by descending attention, and the targets in raster order."""
        n, (dominant, contextual) = visual.projected.shape[1], self.split(k)
        patches = max(1, dominant - 1) if self.aggregates else dominant
        best = top_indices(visual.signals[SALIENCY], patches)
        rest = raster(dropped(best, n), n - patches)
        return best, rest[:, :: max(1, (n - patches) // max(1, contextual))][:, :contextual]

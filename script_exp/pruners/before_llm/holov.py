"""HoloV: a share of the budget for every part of the image, then the most attended patches of each.

Source: Zou et al., "Don't Just Chase 'Highlighted Tokens' in MLLMs: Revisiting Visual Holistic Context
Retention", NeurIPS 2025, arXiv 2510.02912, section on holistic token retention, as its released code has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from script_exp.errors import SettingError, check_number, check_whole
from script_exp.pruners.arithmetic.picture import check_over, picture_order
from script_exp.pruners.contract.pruner import Pruner, top_indices
from script_exp.pruners.contract.signals import SALIENCY, Signal
from script_exp.pruners.contract.visual_tokens import Query, VisualTokens

_RUNS_PER_TOKEN = 1024 / 576
_SCALE, _EPSILON = 1000.0, 1e-6


@dataclass(kw_only=True)
class HoloV(Pruner):
    """Divide the budget among runs of the raster, and keep the most attended patches of each run.

    With the class token's attention a_i and the projected tokens p_i, in a run R of m patches, with
    S_ij = cos(p_i, p_j) for i != j and S_ii = 0:

        mu_i = sum_j S_ij / (m - 1),   V_i = sum_j (S_ij - mu_i)^2 / (m - 1),
        H_i = 1000 a_i + gamma V_i mean_R(1000 a) / (mean_R(V) + 1e-6),   w_R = mean_R(H) / sum of all runs'.

    Run R gets floor(w_R k) tokens, its most attended ones, and the runs with the largest w one more each
    until there are k. The released code loses the tokens that a run cannot hold; here they go to the other
    runs, one each in the order of w, round by round.

    Released and not as in the paper: runs are contiguous in the raster instead of spatial crops, and the
    variance V cannot change a quota: scaled to the run's mean attention, its mean adds the share gamma to
    every run alike. The paper's own rule is not specified fully enough to offer.

    A tower without a class token uses the attention that each patch receives.

    Attributes:
        runs: runs of the raster; None: floor(1024 / 576 n / k), which is 16, 8 and 5 for 64, 128 and 192 of
            576 tokens. The released code has 16 for LLaVA at 64 tokens, and this formula for Qwen2.5-VL.
        gamma: weight of the variance.
        over: what is cut into runs: the tokens of all crops of the ``image`` (all frames of a video), so that
            crops keep different numbers of them with the same total, as released for LLaVA-NeXT, where runs
            go through the base crop and then through the rows of the whole picture; or each ``crop`` alone.
    """

    runs: int | None = None
    gamma: float = 0.09
    over: str = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_over(self.over)
        if self.runs is not None:
            check_whole("runs", self.runs, 1)
        check_number("gamma", self.gamma, lambda v: 0 <= v <= 1, "a number in [0, 1]")

    @property
    def signals(self) -> frozenset[Signal]:
        return frozenset([SALIENCY])

    def select(self, visual: VisualTokens, query: Query | None, k: int) -> Tensor:
        attention = visual.signals[SALIENCY]
        if self.over == "crop":
            return self.choose(visual.projected, attention, k)
        order = picture_order(visual)
        tokens, saliency = visual.projected.flatten(0, 1)[order], attention.flatten()[order]
        return order[self.choose(tokens[None], saliency[None], len(attention) * k)[0]]

    def choose(self, projected: Tensor, attention: Tensor, k: int) -> Tensor:
        """Return the indices (crops, k) of what is kept of tokens (crops, n, d)."""
        n = projected.shape[1]
        runs = min(n, max(1, int(_RUNS_PER_TOKEN * n / k))) if self.runs is None else self.runs
        if runs > n:
            raise SettingError("runs", runs, f"at most {n}, the tokens to choose from")
        members = members_of(n, runs).to(attention.device)
        inside = members < n
        weight = self.weight(projected, attention, members, inside)
        quota = (weight / weight.sum(dim=1, keepdim=True).clamp(min=_EPSILON) * k).floor()

        # A token's place in its run, by attention, counted from the end of the run's quota: those before it
        # are kept, then the first of each run in the order of the runs' weights, then the second, and so on.
        own = functional.pad(attention, (0, 1), value=-torch.inf)[:, members]
        place = top_indices(own, own.shape[2]).argsort(dim=-1) - quota[:, :, None]
        turn = top_indices(weight, runs).argsort(dim=-1)
        order = torch.where(place < 0, -1, place * runs + turn[:, :, None]).masked_fill(~inside, torch.inf)
        chosen = top_indices(-order.flatten(1), k)
        return members.flatten()[chosen]

    def weight(self, projected: Tensor, attention: Tensor, members: Tensor, inside: Tensor) -> Tensor:
        """Return mean H of every run, (crops, runs), from the patches of each (runs, m) and which exist."""
        size = inside.sum(dim=1)
        unit = functional.pad(functional.normalize(projected, dim=-1), (0, 0, 0, 1))[:, members]
        other = inside & ~torch.eye(members.shape[1], dtype=torch.bool, device=members.device)[:, None]
        similarity = (unit @ unit.mT) * other.transpose(0, 1)
        pairs = (size - 1).clamp(min=1)[:, None]
        mean = similarity.sum(dim=-1) / pairs
        difference = (similarity - mean[..., None]) * inside[:, None]
        variance = difference.square().sum(dim=-1) / pairs * inside
        saliency = _SCALE * functional.pad(attention, (0, 1))[:, members]
        mean_saliency = saliency.sum(dim=-1) / size
        mean_variance = variance.sum(dim=-1) / size
        return mean_saliency + self.gamma * mean_variance * mean_saliency / (mean_variance + _EPSILON)


def members_of(n: int, runs: int) -> Tensor:
    """Return the patches of each run of the raster, (runs, longest); n marks a place that a run lacks.

    The first n mod runs are one longer.
    """
    parts = torch.arange(n).tensor_split(runs)
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=n)

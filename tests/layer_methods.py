"""Every method inside the LLM as it is described, slowly, for :func:`layer_reference.reference`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from layer_reference import Merged, Stage, attention, best, capped, projected
from layer_video_methods import SURE, framefusion_inside, holitom_inside, prunevid_inside
from torch import Tensor

from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    Feather,
    FitPrune,
    FrameFusionInside,
    HiMAP,
    HoliTomInside,
    LayerPruner,
    MustDrop,
    PruneVidInside,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)
from script_exp.pruners.contract.signals import SALIENCY


@dataclass(frozen=True)
class Method:
    """A pruner for 36 visual tokens and 6 layers, and which of the visual tokens stay at a stage."""

    pruner: LayerPruner
    choose: Callable[[Stage], Tensor | Merged]
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


def raters(stage: Stage) -> list[int]:
    """Columns of the text tokens that rate, which depend on what entered the LLM alone."""
    prompt = len(stage.embeddings)
    text = list(range(prompt - len(stage.text), prompt))
    image = stage.image
    shares = torch.zeros(len(text))
    for column in image:
        shares += torch.stack([stage.embeddings[column] @ stage.embeddings[word] for word in text]).softmax(0)
    shares /= len(image)
    found = [index for index, share in enumerate(shares) if share > shares.mean()]
    return [int(stage.text[index]) for index in found or range(len(text))]


def sparsevlm_plus(stage: Stage) -> Tensor:
    rope, kind = stage.llm.rotary_emb, getattr(stage.block.self_attn, "layer_type", None)
    frequencies = rope.inv_freq if hasattr(rope, "inv_freq") else getattr(rope, f"{kind}_inv_freq")
    axes = stage.positions.reshape(
        -1, stage.hidden.shape[1]
    )  # one, or three of which each has its frequencies
    own = [number * len(axes) // len(frequencies) for number in range(len(frequencies))]
    width = 2 * len(frequencies)
    rows = stage.before[:, raters(stage)][:, :, stage.visual].clone()
    for line, rater in enumerate(raters(stage)):
        for column, place in enumerate(stage.visual):
            far = axes[own, rater] - axes[own, place]
            weight = 2 / width**0.5 * (far * frequencies).cos().sum()
            rows[:, line, column] /= weight.clamp(min=width**0.5 / 10)
    heads = best(rows.sum(dim=(1, 2)), 2)
    return best(rows[heads].mean(dim=(0, 1)), stage.count)


def sparsevlm(stage: Stage) -> Merged:
    """Counted as published: so many stay, so many of the dropped are recycled, into so many clusters."""
    rows = stage.before.mean(dim=0)[raters(stage)]
    ranked = best(rows.mean(dim=0)[stage.visual], len(stage.visual)).tolist()
    states = stage.hidden[0, stage.visual]
    for kept in range(stage.count - 1, 0, -1):
        recycled = int(0.3 * (len(ranked) - kept)) + 1
        clusters = int(recycled / 10) + 1
        if kept + clusters <= stage.count:
            break
    else:
        kept, clusters = 1, stage.count - 1
        recycled = int(0.3 * (len(ranked) - 1)) + 1
    groups = clustered(states, ranked[kept : kept + recycled], clusters) if clusters else []
    merged = [torch.stack([states[one] for one in group]).mean(dim=0) for group in groups]
    return Merged(torch.tensor(ranked[:kept]), merged)


def clustered(states: Tensor, pool: list[int], clusters: int) -> list[list[int]]:
    """DPC-kNN pair by pair; clusters in the order of their centers."""
    far = {(a, b): float((states[a] - states[b]).norm()) / states.shape[1] ** 0.5 for a in pool for b in pool}
    density = {}
    for one in pool:
        nearest = sorted(far[one, other] ** 2 for other in pool)[:clusters]
        density[one] = math.exp(-sum(nearest) / len(nearest))
    order = sorted(pool, key=lambda one: -density[one])  # the first of equal ones is the denser one
    delta = {order[0]: max(far.values())}
    for number, one in enumerate(order[1:], start=1):
        delta[one] = min(far[one, denser] for denser in order[:number])
    centers = sorted(pool, key=lambda one: -density[one] * delta[one])[:clusters]
    groups: list[list[int]] = [[] for _ in centers]
    for one in pool:
        nearest = min(range(clusters), key=lambda number: far[one, centers[number]])
        groups[centers.index(one) if one in centers else nearest].append(one)
    return groups


def v2drop(stage: Stage) -> Tensor:
    change = (stage.hidden - stage.taken[0])[0, stage.visual]
    return best((change**2).sum(dim=-1).sqrt(), stage.count)


def himap(stage: Stage) -> Tensor:
    rows = stage.text if stage.number == 0 else stage.visual
    return best(stage.before.mean(dim=0)[rows][:, stage.visual].sum(dim=0), stage.count)


def pact(stage: Stage) -> Merged:
    """Token by token; the cutoff is the largest that bisection finds to leave enough centers."""
    query, key = projected(stage.own, stage.hidden, None)
    asked = int(stage.text[0])
    key = key.repeat_interleave(len(query) // len(key), dim=0)[:, :asked]
    own = stage.own.self_attn
    logits = query[:, :asked].mean(dim=1, keepdim=True) @ key.mT * own.scaling
    logits = capped(logits, own, "attn_logit_softcapping")
    states = stage.hidden[0, stage.visual]
    scores = logits.softmax(dim=-1).mean(dim=(0, 1))[stage.visual] * states.norm(dim=-1)
    tokens = range(len(states))
    pool = sorted(best(scores, max(stage.count, int(0.55 * len(states)))).tolist())
    _, turned = projected(stage.own, stage.hidden, stage.rotary)
    keys = torch.stack([turned[:, column].flatten() for column in stage.visual])
    far = (1 - torch.cosine_similarity(keys[:, None], keys, dim=-1)).tolist()
    density = [sum(math.exp(-((far[one][other] / 2) ** 2)) for other in pool) for one in tokens]
    order = sorted(pool, key=lambda one: -density[one])

    def centers(cutoff: float) -> list[int]:
        found: list[int] = []
        for one in order:
            if all(far[one][center] > cutoff for center in found):
                found.append(one)
        return found

    low, high = -1.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if len(centers(middle)) >= stage.count else (low, middle)
    chosen = sorted(centers(low)[: stage.count])
    members = {center: [center] for center in chosen}
    for one in tokens:
        near = min(chosen, key=lambda center: far[one][center])
        if one not in chosen and (one in pool or far[one][near] <= 1.5 * max(low, 0)):
            members[near].append(one)
    means = [states[members[center]].mean(dim=0) for center in chosen]
    return Merged(torch.tensor(chosen), [], means, [len(members[center]) for center in chosen])


def mustdrop(stage: Stage) -> Tensor:
    """The thresholds that leave as many as stay: a token goes if it is below both and not in the key set."""
    rows = stage.before.mean(dim=0)[stage.text][:, stage.visual]
    total, ratio = float(rows.sum()), 0.5
    attended = stage.known.tower[SALIENCY]
    key = sorted(range(len(stage.image)), key=lambda one: -float(attended[one]))
    key = key[: math.ceil(0.2 * len(stage.image))]
    columns = [(float(rows[:, one].sum()), float(rows[:, one].max())) for one in range(len(stage.visual))]
    in_key = [int(place) in key for place in stage.places]

    def left(t: float, spared: bool) -> list[int]:
        return [
            one
            for one, (sums, most) in enumerate(columns)
            if sums >= t / ratio * total or most >= t or (spared and in_key[one])
        ]

    every = sorted({t for sums, most in columns for t in (sums / (total or 1) * ratio, most)}, reverse=True)
    every = [t * (1 - 1e-6) for t in every]  # so that rounding leaves the token that it is the threshold of
    if sum(in_key) >= stage.count:  # the best of the key set alone
        ranked = [one for t in every for one in left(t, spared=False) if in_key[one]]
    else:
        ranked = [one for one, key_one in enumerate(in_key) if key_one]
        ranked += [one for t in every for one in left(t, spared=True)]
    return torch.tensor(list(dict.fromkeys(ranked))[: stage.count])


def fitprune(stage: Stage) -> Tensor:
    """As published: the tokens with the lowest product leave."""
    largest = stage.before.amax(dim=0)
    own = largest[stage.visual][:, stage.visual].sum(dim=0) / len(stage.visual)
    product = own * largest[stage.text][:, stage.visual].sum(dim=0)
    return best(product, stage.count)


def feather(stage: Stage) -> Tensor:
    query, key = projected(stage.block, stage.taken[0], None)
    key = key.repeat_interleave(len(query) // len(key), dim=0)
    logits = (query[:, -1:] @ key[:, stage.visual].mT)[:, 0] * stage.block.self_attn.scaling
    logits = capped(logits, stage.block.self_attn, "attn_logit_softcapping")
    seen = stage.taken[2][0, 0, -1, stage.visual]
    scores = torch.zeros(len(stage.visual))
    if (seen == 0).any():
        scores = (logits + seen).softmax(dim=-1).mean(dim=0)
    if stage.number == 0:
        on_grid = (stage.known.grid[stage.places] % 3 == 0).all(dim=-1)
        scores = scores + 2 * on_grid
    return best(scores, stage.count)


METHODS = {
    "pyramiddrop": Method(PyramidDrop(budget=22), next_layer, renumber=True),
    "pyramiddrop_keep": Method(
        PyramidDrop(budget=3, stages=[1, 2, 5], budget_as="after", positions="keep"), next_layer
    ),
    "sparsevlm": Method(SparseVLM(budget=22), sparsevlm, renumber=True),
    "sparsevlm_few": Method(
        SparseVLM(budget=2, stages=[2, 3, 5], budget_as="after"), sparsevlm, renumber=True
    ),
    "sparsevlm_plus": Method(SparseVLMPlus(budget=14, heads=2), sparsevlm_plus),
    "v2drop": Method(V2Drop(budget=12, stages=[1, 3, 5]), v2drop),
    "v2drop_all_stages": Method(V2Drop(budget=0.8), v2drop),
    "himap": Method(HiMAP(budget=12), himap),
    "fitprune": Method(FitPrune(budget=14), fitprune),
    "feather": Method(Feather(budget=17), feather),
    "feather_few": Method(Feather(budget=2, budget_as="after", stages=[1, 2]), feather),
    "mustdrop": Method(MustDrop(budget=12, key=0.2, ratio=0.5), mustdrop, renumber=True),
    "mustdrop_keep": Method(
        MustDrop(budget=3, key=0.2, ratio=0.5, stages=[1, 4], budget_as="after", positions="keep"), mustdrop
    ),
    "pact": Method(PACT(budget=9, layer=2, budget_as="after"), pact),
    "pact_many": Method(PACT(budget=0.7, layer=3, budget_as="after"), pact),
    "holitom_inside": Method(HoliTomInside(budget=0.84), holitom_inside),
    "prunevid_inside": Method(PruneVidInside(budget=0.5, stages=[2, 4]), prunevid_inside),
    "framefusion_inside": Method(
        FrameFusionInside(budget=8, stages=[1, 3], threshold=SURE, budget_as="after"), framefusion_inside
    ),
    "vtw": Method(VTW(budget=18), none),
    "dart": Method(DART(budget=18, budget_as="after"), dart),
    "dart_few": Method(DART(budget=7, layer=3, budget_as="after"), dart),
}

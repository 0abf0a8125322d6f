"""The stages inside the LLM of methods for videos, slowly, for :mod:`layer_methods`."""

from __future__ import annotations

import torch
from layer_reference import Merged, Stage, best, fastv
from torch import Tensor

SURE = 0.3
"""The cosine from which on pairs are merged here: some are, and some tokens have to be pruned."""


def holitom_inside(stage: Stage) -> Merged:
    """One dropped token after the other, in the order of the prompt."""
    kept = sorted(fastv(stage).tolist())
    states = stage.hidden[0, stage.visual]
    merged = {one: states[one] for one in kept}
    for one in range(len(states)):
        if one not in kept:
            cosines = [float(torch.cosine_similarity(states[one], states[own], dim=0)) for own in kept]
            host = kept[cosines.index(max(cosines))]
            merged[host] = (merged[host] + states[one]) / 2
    return Merged(torch.tensor(kept), [], list(merged.values()), [1] * len(kept))


def prunevid_inside(stage: Stage) -> Tensor:
    """Part by part; a part whose share is rounded down most gets the next token."""
    scores = stage.before.amax(dim=0)[stage.text][:, stage.visual].amax(dim=0)
    parts: dict[int, list[int]] = {}
    for one, part in enumerate(stage.known.origin.part[stage.places].tolist()):
        parts.setdefault(part, []).append(one)
    shares = {part: len(parts[part]) * stage.count / len(stage.places) for part in sorted(parts)}
    counts = {part: int(share) for part, share in shares.items()}
    while sum(counts.values()) < stage.count:
        counts[max(shares, key=lambda part: round(shares[part] - counts[part], 9))] += 1
    ranked = best(scores, len(scores)).tolist()
    return torch.tensor(
        [one for part in parts for one in [r for r in ranked if r in parts[part]][: counts[part]]]
    )


def framefusion_inside(stage: Stage) -> Merged:
    """Pair by pair: the neighbors in time at a place of a video, the most alike first."""
    rows = stage.before[:, stage.text[-1], stage.visual].mean(dim=0)
    states, where = stage.hidden[0, stage.visual], stage.known.origin
    columns = [column[stage.places].tolist() for column in (where.image, where.crop, where.place)]
    origin, pairs = list(zip(*columns, strict=True)), []
    for one, (video, frame, place) in enumerate(origin):
        earlier = [
            (other[1], number)
            for number, other in enumerate(origin)
            if place >= 0 and (other[0], other[2]) == (video, place) and other[1] < frame
        ]
        if earlier:
            _, other = max(earlier)
            pairs.append((float(torch.cosine_similarity(states[one], states[other], dim=0)), one, other))
    alike = sorted((pair for pair in pairs if pair[0] >= SURE), reverse=True)
    before = {one: other for _, one, other in alike[: len(states) - stage.count]}
    runs: dict[int, list[int]] = {}
    for one in range(len(states)):
        first = one
        while first in before:
            first = before[first]
        runs.setdefault(first, []).append(one)
    means = {first: states[run].mean(dim=0) for first, run in runs.items()}
    scores = torch.tensor([float(rows[run].mean()) for run in runs.values()])
    stay = sorted(list(runs)[index] for index in best(scores, stage.count))
    return Merged(torch.tensor(stay), [], [means[one] for one in stay], [1] * len(stay))

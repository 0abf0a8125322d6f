"""PruneVid's stage before the LLM, against loops over segments, parts and pairs of frames."""

from __future__ import annotations

from itertools import combinations, groupby, pairwise

import pytest
import torch
from made_video import KINDS, by_remainders, clusters_of, cosine, made_video

from script_exp.errors import SettingError
from script_exp.pruners import PruneVid


def segments_of(tokens):
    """Where the longest run of each cluster of frames begins."""
    means = tokens.double().mean(dim=1)
    means = means / means.norm(dim=-1, keepdim=True)
    own = clusters_of(means, max(1, len(tokens) // 4), 7)[1]
    runs, t = [], 0
    for cluster, run in groupby(own):
        length = len(list(run))
        runs.append((cluster, length, t))
        t += length
    begins = {0}
    for cluster in set(own):
        begins.add(max((run for run in runs if run[0] == cluster), key=lambda run: run[1])[2])
    return list(pairwise([*sorted(begins), len(tokens)]))


def slow(video, total):
    """The kept place -> token, in double precision, and the number of its part."""
    tokens = video.projected.double()
    frames, n, _ = tokens.shape
    alike = {}
    for begin, end in segments_of(tokens):
        pairs = list(combinations(range(begin, end), 2))
        for i in range(n):
            values = [cosine(tokens[a, i], tokens[b, i]) for a, b in pairs]
            alike[begin, end, i] = sum(values) / len(values) if values else -1
    static = {key for key, value in alike.items() if value > 0.8}
    while frames * n - sum(end - begin - 1 for begin, end, _ in static) < total:
        static.remove(min(static, key=lambda key: (round(alike[key], 6), key)))
    parts = []
    names = []
    for number, (begin, end) in enumerate(segments_of(tokens)):
        fixed = [i for i in range(n) if (begin, end, i) in static]
        parts.append([(begin * n + i, tokens[begin:end, i].mean(dim=0)) for i in fixed])
        names += [frames + number, *range(begin, end)]
        for t in range(begin, end):
            parts.append([(t * n + i, tokens[t, i]) for i in range(n) if i not in fixed])
    sizes = [len(part) for part in parts]
    counts = by_remainders([size * total / sum(sizes) for size in sizes], total, sizes)
    result = {}
    for part, name, count in zip(parts, names, counts, strict=True):
        if count:
            centers, own = clusters_of(torch.stack([token for _, token in part]), count, 7)
            for center in centers:
                members = [part[i][1] for i, c in enumerate(own) if c == center]
                result[part[center][0]] = torch.stack(members).mean(dim=0), name
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_slow_rule(kind):
    video = made_video(kind)
    for budget in (1, 3, 7, 0.45):
        pruner = PruneVid(budget=budget)
        kept, wanted = pruner(video), slow(video, pruner.total_of(8, 12))
        assert kept.places.tolist() == sorted(wanted)
        rows = torch.stack([wanted[place][0] for place in sorted(wanted)])
        torch.testing.assert_close(kept.rows, rows.float(), atol=1e-5, rtol=1e-5)
        assert pruner.parts(video, kept.places).tolist() == [wanted[place][1] for place in sorted(wanted)]


def test_what_is_known_of_made_videos():
    """Two pictures are two segments, and each is kept once; frames alone have nothing static."""
    cut = made_video("cut")
    assert segments_of(cut.projected) == [(0, 4), (4, 8)]
    kept = PruneVid(budget=3)(cut)
    assert kept.counts == [12, 0, 0, 0, 12, 0, 0, 0]
    torch.testing.assert_close(kept.rows, cut.projected[[0, 4]].flatten(0, 1))
    assert sum(PruneVid(budget=3, segments=1.0)(made_video("random")).counts) == 24
    with pytest.raises(SettingError, match=r"segments=0: expected a share of the frames in \(0, 1\]"):
        PruneVid(budget=3, segments=0)

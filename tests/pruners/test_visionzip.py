"""VisionZip, against loops over patches and groups."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_visual import cosine, made

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage
from script_exp.pruners import VisionZip
from script_exp.pruners.contract.signals import Signal


def slow_visionzip(visual, crop, patches, contextual):
    """Return the dominant patches, and {target: contextual token before the projector}."""
    attention = visual.signals[Signal("saliency")][crop].tolist()
    keys, features = visual.signals[Signal("keys")][crop], visual.features[crop].double()
    n = len(attention)
    dominant = sorted(range(n), key=lambda i: (-attention[i], i))[:patches]
    rest = [i for i in range(n) if i not in dominant]
    step = max(1, len(rest) // contextual) if contextual else 1
    targets = [rest[j * step] for j in range(contextual)]
    groups = {target: [] for target in targets}
    for i in rest:
        if targets and i not in targets:
            similarity = [cosine(keys[i], keys[target]) for target in targets]
            groups[targets[similarity.index(max(similarity))]].append(i)
    tokens = {}
    for target, group in groups.items():
        total = sum((features[i] for i in group), torch.zeros_like(features[0]))
        tokens[target] = features[target] + total / max(1, len(group))
    return dominant, tokens


@pytest.mark.parametrize("grid", [(4, 4), (5, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_in_place_equals_the_loop(grid, seed):
    visual = made(grid, seed=seed)
    n = grid[0] * grid[1]
    for k in (1, 2, 6, 8, n // 2, n - 1):
        method = VisionZip(budget=k)
        kept = method(visual)
        split = method.split(k)
        for crop in range(2):
            dominant, tokens = slow_visionzip(visual, crop, *split)
            assert kept.indices[crop].tolist() == sorted([*dominant, *tokens])
            for index, token in zip(kept.indices[crop].tolist(), kept.tokens[crop], strict=True):
                if index in tokens:
                    wanted = visual.project(tokens[index].float())
                    torch.testing.assert_close(token, wanted, atol=1e-5, rtol=1e-5)
                else:
                    assert torch.equal(token, visual.projected[crop, index])


@pytest.mark.parametrize("seed", range(3))
def test_the_official_layout_equals_the_loop(seed):
    visual = made((5, 7), seed=seed)
    for k in (2, 3, 8, 17, 34):
        method = VisionZip(budget=k, layout="official")
        kept = method(visual)
        dominant, contextual = method.split(k)
        for crop in range(2):
            patches, tokens = slow_visionzip(visual, crop, dominant - 1, contextual)
            assert kept.indices[crop].tolist() == sorted(patches)
            rows = [visual.projected[crop, i] for i in sorted(patches)]
            rows.append(visual.project(visual.signals[Signal("class_token")][crop]))
            rows += [visual.project(token.float()) for token in tokens.values()]
            torch.testing.assert_close(kept.tokens[crop], torch.stack(rows), atol=1e-5, rtol=1e-5)
        image = EncodedImage(visual, visual.projected.flatten(0, 1), torch.arange(70), 2, 2)
        entering, features = image.keep(kept, separators=True)
        assert entering.sum() == len(features) == 2 * k
        classes = visual.project(visual.signals[Signal("class_token")])
        torch.testing.assert_close(features[:2], classes, atol=1e-5, rtol=1e-5)
        assert torch.equal(features[2 : dominant + 1], kept.tokens[0, : dominant - 1])
        if contextual:
            merged = kept.tokens[:, dominant:].flatten(0, 1)
            assert torch.equal(features[-2 * contextual :], merged)


def test_published_splits():
    """192, 128, 64 and 32 tokens; 54 + 10 are 53 patches, the class token and 10 contextual ones."""
    wanted = {192: (162, 30), 128: (108, 20), 64: (54, 10), 32: (27, 5), 1: (1, 0)}
    assert {k: VisionZip(budget=k).split(k) for k in wanted} == wanted
    kept = VisionZip(budget=64, layout="official")(made((24, 24), crops=1))
    assert kept.indices.shape == (1, 53)
    assert kept.tokens.shape[1] == 53 + 1 + 10


def test_one_token_is_a_patch_in_every_layout():
    visual = made()
    one, other = (VisionZip(budget=1, layout=layout)(visual) for layout in ("in_place", "official"))
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.tokens, other.tokens)


def test_a_target_without_guests_is_itself_and_the_others_double():
    """Equal patches, and keys of which all but one target's have the same direction."""
    visual = made((4, 4), crops=1)
    keys = torch.ones(1, 16, 4)
    saliency = torch.arange(16, 0, -1.0)[None]
    method = VisionZip(budget=6, dominant=4)  # patches 0 to 3; targets 4 and 10
    keys[0, 10] = -1
    signals = visual.signals | {Signal("keys"): keys, Signal("saliency"): saliency}
    tower = visual.tower[:, :1].expand(1, 16, 7)
    visual = replace(visual, tower=tower, projected=tower, project=lambda features: features, signals=signals)
    kept = method(visual)
    assert kept.indices.tolist() == [[0, 1, 2, 3, 4, 10]]
    torch.testing.assert_close(kept.tokens[0, 4], 2 * tower[0, 0])
    assert torch.equal(kept.tokens[0, 5], tower[0, 0])


def test_without_a_tower_the_projected_tokens_are_merged():
    visual = replace(made(), tower=None, project=None)
    same = replace(visual, tower=visual.projected, project=lambda features: features)
    for k in (3, 9):
        assert torch.equal(VisionZip(budget=k)(visual).tokens, VisionZip(budget=k)(same).tokens)


@pytest.mark.parametrize("layout", ["in_place", "official"])
def test_half_precision(layout):
    """Attention and keys are in float32 whatever the model's dtype, so the choice is the same."""
    visual = made(dtype=torch.bfloat16)
    kept = VisionZip(budget=9, layout=layout)(visual)
    assert kept.tokens.dtype == torch.bfloat16
    assert torch.equal(kept.indices, VisionZip(budget=9, layout=layout)(made()).indices)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dominant": 1.5}, "dominant=1.5: expected a share of the budget in"),
        ({"dominant": 0}, "dominant=0: expected a whole number >= 1"),
        ({"dominant": "most"}, "dominant=most: expected a whole number >= 1"),
        ({"contextual": -1}, "contextual=-1: expected a whole number >= 0"),
        ({"layout": "first"}, "layout=first: expected one of in_place, official"),
        ({"dominant": 65}, "dominant=65: expected at most 64, the budget"),
        ({"dominant": 50, "contextual": 10}, "contextual=10: expected 14: 64 tokens less 50 dominant ones"),
    ],
)
def test_out_of_range(settings, message):
    with pytest.raises(SettingError) as error:
        VisionZip(budget=64, **settings).kept_of(576)
    assert str(error.value).startswith(message)

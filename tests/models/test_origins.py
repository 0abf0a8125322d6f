"""What a method inside the LLM knows of where tokens come from, of images and their crops."""

from __future__ import annotations

import pytest
import torch
from families import build, pruned_rows, visuals

from script_exp.pruners import Composed, DivPrune, PruneVidInside, VisionZip


def composed(before, budget):
    inside = PruneVidInside(budget=1, stages=[1])
    return Composed(budget=budget, expansion=2, before=before, inside=inside, budget_as="after")


@pytest.mark.parametrize("family", ["llava_next", "qwen2_5_vl"])
def test_tokens_are_those_of_their_crop_and_place(family, tmp_path):
    """Without a method before the LLM, and after one that divides its tokens unequally among the crops."""
    model, images = build(family, tmp_path), visuals(family)
    for pruner in (PruneVidInside(budget=0.3, budget_as="after"), composed(DivPrune(budget=1), 0.2)):
        prompt, encoded = pruned_rows(model, [(own, row) for row, own in enumerate(images[:2])], pruner)
        for number, (image, known) in enumerate(zip(encoded, prompt.known, strict=True)):
            origin, wanted = known.origin, image.source[image.source >= 0]
            if prompt.kept:
                kept = prompt.kept[number]
                wanted = torch.tensor([place for place in wanted.tolist() if place in kept.places.tolist()])
            n = image.visual.projected.shape[1]
            assert torch.equal(origin.crop * n + origin.place, wanted)
            assert torch.equal(origin.part, origin.crop)
            assert not origin.image.any()
            assert len(origin.crop) == prompt.entering[number]


def test_aggregated_tokens_have_no_place(tmp_path):
    """The official layout of VisionZip puts its merged tokens behind the others or, the first one, before."""
    model, images = build("llava", tmp_path), visuals("llava")
    before = VisionZip(budget=1, dominant=5, layout="official")
    prompt, _ = pruned_rows(model, [(images[0], 0)], composed(before, 4))
    (known,), (kept,) = prompt.known, prompt.kept
    first, last = len(kept.first), len(kept.last)
    assert first + last > 0
    assert known.origin.place.tolist() == [-1] * first + kept.places.tolist() + [-1] * last
    assert known.origin.part.tolist() == known.origin.crop.tolist() == [0] * 8

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
def test_tokens_are_those_of_their_image_crop_and_place(family, tmp_path):
    """Without a method before the LLM, and after one that divides its tokens unequally among the crops."""
    model, images = build(family, tmp_path), visuals(family)
    for pruner in (PruneVidInside(budget=0.3, budget_as="after"), composed(DivPrune(budget=1), 0.2)):
        texts = [model.chat_prompt("what is it?", 2), model.chat_prompt("is it?")]
        inputs = model.preprocess([[*images[0], *images[1]], images[1]], texts)
        encoded = model.encode_images(inputs)
        prompt = model.prune(inputs, encoded, pruner)
        kept = list(prompt.kept) or [None] * 3
        for known, numbers in zip(prompt.known, ([0, 1], [2]), strict=True):
            wanted, crops, parts = [], 0, 0
            for own, number in enumerate(numbers):
                count, n, _ = encoded[number].visual.projected.shape
                left = range(count * n) if kept[number] is None else kept[number].places.tolist()
                wanted += [
                    [own, crops + place // n, place % n, parts + place // n]
                    for place in encoded[number].source.tolist()
                    if place >= 0 and place in left
                ]
                crops, parts = crops + count, parts + 2 * count
            origin = known.origin
            assert torch.stack([origin.image, origin.crop, origin.place, origin.part], 1).tolist() == wanted
        assert [len(known.origin.crop) for known in prompt.known] == prompt.entering


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

"""Methods that merge, in every model family: exact counts, a batch like its rows, or one sentence why not."""

from __future__ import annotations

import pytest
import torch
from families import NATIVE, pruned_images

from script_exp.errors import SettingError, UserError
from script_exp.pruners import ApET, Pool, PruMerge, PruMergePlus, ToMe, VisionZip, VScan

BUDGET = 4
METHODS = {
    "apet": ApET(budget=BUDGET, basis=2),
    "pool": Pool(budget=BUDGET),
    "pool_tower": Pool(budget=BUDGET, space="tower"),
    "prumerge": PruMerge(budget=BUDGET, neighbors=3),
    "prumerge_in_place": PruMerge(budget=BUDGET, neighbors=3, layer=0, aggregate=False),
    "prumerge_plus": PruMergePlus(budget=BUDGET, neighbors=3),
    "prumerge_plus_adaptive": PruMergePlus(budget=15, neighbors=3, count="adaptive"),
    "tome": ToMe(budget=BUDGET),
    "tome_keys": ToMe(budget=BUDGET, metric="keys"),
    "visionzip": VisionZip(budget=BUDGET, dominant=2),
    "visionzip_official": VisionZip(budget=BUDGET, dominant=2, layout="official"),
    "vscan": VScan(budget=BUDGET, window=2),
}
SHALLOW = ("llava_onevision", "internvl", "internvl_moe", "smolvlm", "idefics3", "paligemma", "paligemma2")
SHALLOW += ("gemma3", "gemma3_window")
"""Families that read the last layer of their tower, and have no class token of the width of a token."""
_PRUMERGE = [name for name in METHODS if name.startswith("prumerge")]
REFUSED = {
    **{
        (kind, name): "layer=1: expected"
        for kind in SHALLOW
        for name in _PRUMERGE
        if name != "prumerge_in_place"
    },
    **{("native", name): "flat_keys cannot be read" for name in _PRUMERGE},
    **{(kind, "visionzip_official"): "class_token cannot be read" for kind in (*SHALLOW, "native")},
}


@pytest.mark.parametrize("name", METHODS)
def test_counts_are_exact_and_a_batch_is_like_its_rows(model, family, encoded, name):
    pruner = METHODS[name]
    rows = (0, 1, 2)
    kind = "native" if family.startswith(NATIVE) else family.removesuffix("_video")
    refused = REFUSED.get((kind, name))
    if refused is not None:
        with pytest.raises(UserError, match=refused):
            model.adapter.check_signals(pruner.reads.signals, model.model.config)
        return
    model.adapter.check_signals(pruner.reads.signals, model.model.config)
    if family == "llava_onevision" and isinstance(pruner, Pool | VScan):
        with pytest.raises(SettingError, match="expected a method that needs no grid: this image's tokens"):
            pruned_images(model, encoded(rows, pruner.reads), pruner)
        rows = rows[:2]  # the last picture is scaled down
    prompt, images = pruned_images(model, encoded(rows, pruner.reads), pruner)
    for kept, image in zip(prompt.kept, images, strict=True):
        crops, n, _ = image.visual.projected.shape
        count = min(pruner.budget * (image.budget_crops // crops), n)
        if pruner.adaptive:
            assert 1 < min(kept.counts) <= max(kept.counts) <= count
        else:
            assert kept.counts == [count] * crops
        assert kept.rows.isfinite().all()
        assert kept.aggregated.isfinite().all()
        assert (len(kept.aggregated) > 0) == (pruner.aggregates and count < n)
    singles = [pruned_images(model, encoded((row,), pruner.reads), pruner)[0] for row in rows]
    alone = [kept for single in singles for kept in single.kept]
    for one, other in zip(prompt.kept, alone, strict=True):
        assert torch.equal(one.places, other.places)
        torch.testing.assert_close(one.rows, other.rows, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.aggregated, other.aggregated, atol=1e-4, rtol=1e-4)

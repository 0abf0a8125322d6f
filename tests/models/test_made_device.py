"""All families on a device that is not the host, and on two: see made_device.py for what that can find."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from families import EVERY, build, modality, pruned_rows, visuals, with_plain_experts
from made_device import FIRST, SECOND, Made, MadeDevices, put

from script_exp.models.devices import devices_of
from script_exp.models.tower_layers import bare_tower
from script_exp.pruners import (
    Composed,
    DivPrune,
    Downsample,
    FasterVLM,
    FastV,
    FrameFusion,
    FrameFusionInside,
    HoliTom,
    HoliTomInside,
    NoPruning,
    PruneVid,
    PruneVidInside,
    PyramidDrop,
    Script,
    Trim,
)

# Where choosing tokens waits for the device, with a comment in the code: once for a batch, or for an image.
BATCH = {"prompt.py:rows_of_images", "prompt.py:shorten_prompt", "prunable.py:prune"}
IMAGE = {"pruner.py:check_finite", "encoded.py:keep"}


def logits(model, rows, pruner):
    prompt, _ = pruned_rows(model, rows, pruner)
    with model.pruning_inside(prompt):
        first = model.prefill(prompt)
        return first.logits, model.decode_step(first, prompt, 1).logits


def move(model, place):
    """Move a model and its query encoder."""
    put(model.model, place)
    for name, own in vars(model.query_encoder).items():
        if isinstance(own, torch.nn.Module):
            put(own, place)
        elif isinstance(own, torch.Tensor):
            setattr(model.query_encoder, name, Made(own.detach(), place))


@pytest.mark.parametrize("family", EVERY)
@torch.no_grad()
def test_every_tensor_is_on_the_models_device(family, tmp_path):
    model = with_plain_experts(build(family, tmp_path))
    rows = [(own, row) for row, own in enumerate(visuals(family)[: 2 if modality(family) == "image" else 1])]
    pruners = [Script(budget=5), FastV(budget=4, layer=2, budget_as="after")]
    if model.adapter.has_projector:
        pruners.append(Trim(budget=5, aggregate=True))
    expected = [logits(model, rows, pruner) for pruner in pruners]
    with MadeDevices():
        move(model, FIRST)
        assert model.device == FIRST
        for pruner, wanted in zip(pruners, expected, strict=True):
            for found, own in zip(logits(model, rows, pruner), wanted, strict=True):
                assert found.device == FIRST
                torch.testing.assert_close(found.host, own, atol=5e-5, rtol=1e-4)


@torch.no_grad()
def test_stages_of_video_methods_inside_the_llm(tmp_path):
    """What they know of the tokens is on the device, too."""
    model = build("llava_next_video", tmp_path)
    rows = [(visuals("llava_next_video")[0], 0)]
    stages = (HoliTom, HoliTomInside), (PruneVid, PruneVidInside), (FrameFusion, FrameFusionInside)
    pruners = [
        Composed(budget=0.2, budget_as="after", before=before(budget=1), inside=inside(budget=1))
        for before, inside in stages
    ]
    expected = [logits(model, rows, pruner) for pruner in pruners]
    with MadeDevices():
        move(model, FIRST)
        for pruner, wanted in zip(pruners, expected, strict=True):
            for found, own in zip(logits(model, rows, pruner), wanted, strict=True):
                torch.testing.assert_close(found.host, own, atol=5e-5, rtol=1e-4)


@torch.no_grad()
def test_where_choosing_waits_for_the_device(tmp_path):
    model = build("llava_next", tmp_path)
    own = visuals("llava_next")[:2]
    with MadeDevices() as devices:
        move(model, FIRST)
        inputs = model.preprocess(own, [model.chat_prompt("what is it?")] * 2)
        for pruner in (DivPrune(budget=5), Script(budget=5), FastV(budget=4, layer=1, budget_as="after")):
            images = model.encode_images(inputs, pruner.reads)
            queries = model.encode_queries(["what is it?"] * 2, pruner.reads) if pruner.needs_query else None
            devices.waits.clear()
            model.prune(inputs, images, pruner, queries)
            before = dict.fromkeys(BATCH, 1)
            if isinstance(pruner, FastV):
                before["stage_outputs.py:places_in_crops"] = 2
            else:
                before |= dict.fromkeys(IMAGE, 2)
            assert devices.waits == before


@torch.no_grad()
@pytest.mark.parametrize("family", EVERY)
def test_decoder_layers_on_another_device(family, tmp_path):
    """accelerate's hooks move what a layer gets; masks, ropes and choices have to follow."""
    model = with_plain_experts(build(family, tmp_path))
    rows = [(own, row) for row, own in enumerate(visuals(family)[: 2 if modality(family) == "image" else 1])]
    positions = "renumber" if model.adapter.counts_positions else "keep"
    pruners = [
        NoPruning(),
        Script(budget=5),
        FastV(budget=4, layer=2, budget_as="after"),  # ranked on the first device, dropped on the second
        PyramidDrop(budget=4, stages=[1, 2], budget_as="after", positions=positions),
    ]
    expected = [logits(model, rows, pruner) for pruner in pruners]
    llm = model.adapter.llm
    with MadeDevices():
        move(model, FIRST)
        for part in (*llm.layers[2:], llm.norm, model.model.lm_head):
            put(part, SECOND)
            add_hook_to_module(part, AlignDevicesHook(execution_device=SECOND))
        add_hook_to_module(model.model, AlignDevicesHook(execution_device=FIRST, io_same_device=True))
        assert devices_of(model.model) == [FIRST, SECOND]
        for pruner, wanted in zip(pruners, expected, strict=True):
            for found, own in zip(logits(model, rows, pruner), wanted, strict=True):
                torch.testing.assert_close(found.host, own, atol=5e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava", "internvl", "smolvlm"])
def test_tower_layers_on_another_device(family, tmp_path):
    """What is read of the tower comes from both devices."""
    model = build(family, tmp_path)
    rows = [(visuals(family)[0], 0)]
    pruners = [Script(budget=5), FasterVLM(budget=5)]
    pruners += [Downsample(budget=5)] if model.adapter.shrinks else []
    expected = [logits(model, rows, pruner) for pruner in pruners]
    core, tower = model.model.model, bare_tower(model.model)
    projector = core.connector if hasattr(core, "connector") else core.multi_modal_projector
    layers = attrgetter(model.adapter.tower_names.layers)(tower)
    with MadeDevices():
        move(model, FIRST)
        norms = [tower.post_layernorm] if hasattr(tower, "post_layernorm") else []
        for part in (*layers[1:], *norms, projector):
            put(part, SECOND)
            add_hook_to_module(part, AlignDevicesHook(execution_device=SECOND))
        for part in (core.get_input_embeddings(), *model.adapter.llm.layers):
            add_hook_to_module(part, AlignDevicesHook(execution_device=FIRST))
        add_hook_to_module(model.model, AlignDevicesHook(execution_device=FIRST, io_same_device=True))
        for pruner, wanted in zip(pruners, expected, strict=True):
            for found, own in zip(logits(model, rows, pruner), wanted, strict=True):
                torch.testing.assert_close(found.host, own, atol=5e-5, rtol=1e-4)

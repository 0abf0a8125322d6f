"""Pruning inside the LLM of every family against a slow reference: no hooks, no cache, one row at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import layer_reference
import pytest
import torch
from families import EVERY, QUESTIONS, build, visuals
from layer_methods import (
    dart,
    feather,
    fitprune,
    himap,
    mustdrop,
    next_layer,
    none,
    pact,
    sparsevlm,
    sparsevlm_plus,
    v2drop,
)
from layer_reference import Row, capped, fastv
from layer_video_methods import SURE, framefusion_inside, holitom_inside, prunevid_inside
from torch import Tensor

from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    Composed,
    FastV,
    Feather,
    FitPrune,
    FrameFusionInside,
    Graph,
    HiMAP,
    HoliTomInside,
    MustDrop,
    NoPruning,
    PruneVidInside,
    Pyramid,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)
from script_exp.pruners.contract.layer_signals import Origin, TokensKnown
from script_exp.pruners.contract.signals import SALIENCY, Reads

NEW = 9
SETTINGS = {"max_new_tokens": NEW, "do_sample": False}
WITH_LOGITS = {"output_logits": True, "return_dict_in_generate": True}
CASES = [*((family, None) for family in EVERY), ("qwen3_vl", "eager"), ("gemma3_window", "eager")]
KINDS = "linear_attention", "full_attention"
SMALLEST = torch.finfo(torch.float32).min


def encoded(model, rows, questions):
    """What every method's prompt is made of; with the tower's attention, which some read."""
    inputs = model.preprocess(rows, [model.chat_prompt(question) for question in questions])
    return inputs, model.encode_images(inputs, Reads(signals=frozenset([SALIENCY])))


def entering(model, arguments):
    """What the decoder is called with."""
    seen = {}
    handle = model.adapter.llm.register_forward_pre_hook(
        lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True
    )
    with torch.inference_mode():
        model.model(**arguments, use_cache=True, logits_to_keep=1)
    handle.remove()
    return seen


@dataclass
class Alone:
    """An unpadded prompt with one image, as it enters the LLM: what a reference begins with."""

    row: Row
    block: Tensor
    known: TokensKnown


def alone(model, parts, pruner):
    """The prompt that ``pruner`` makes of the parts of one row."""
    prompt, (image,) = model.prune(*parts, pruner), parts[1]
    seen, visual, length = entering(model, prompt.arguments), prompt.tokens[0], prompt.tokens.shape[1]
    places = seen.get("position_ids")
    places = torch.arange(length)[None] if places is None else places[-3:]
    marked = prompt.arguments["input_ids"][0] == model.adapter.placeholder_id
    row = Row(seen["inputs_embeds"], visual, places, seen.get("deepstack_visual_embeds") or (), marked)
    family = model.model.config.model_type
    block = visual if family == "gemma3" else torch.full((length,), family == "paligemma")
    return Alone(row, block, known_of(image, set(prompt.kept[0].places.tolist())))


def known_of(image, kept):
    """Place in its crop, the tower's attention, and origin of each token, one by one."""
    n, (_, columns) = image.visual.projected.shape[1], image.visual.grid
    places = [divmod(place, n) for place in image.source.tolist() if place in kept]  # -1: a separator
    crop, raster = torch.tensor(places).unbind(dim=1)
    grid = [divmod(place, columns) for _, place in places]
    attended = [image.visual.signals[SALIENCY][own, place].float() for own, place in places]
    origin = Origin(torch.zeros_like(crop), crop, raster, crop)
    return TokensKnown(torch.tensor(grid), {SALIENCY: torch.stack(attended)}, origin)


@torch.inference_mode()
def reference(model, prompt, new, schedule, choose, renumber):
    """Logits after the prompt (one row, unpruned) and after each of the ids ``new`` but the last."""
    llm, length = model.adapter.llm, len(prompt.block)
    block = torch.zeros(length + len(new), dtype=torch.bool)  # what sees each other in both directions
    block[:length] = prompt.block
    own_shape = partial(shape, llm, block)
    logits = layer_reference.reference(
        model.model, prompt.row, new, schedule, None, choose, renumber, llm, own_shape, prompt.known
    )
    return capped(logits, llm.config, "final_logit_softcapping")


def shape(llm, block, hidden, positions, alive, index):
    """Rotary embeddings and mask of a layer: with its window, its rope, and blocks that see themselves."""
    distance = torch.arange(len(alive))[:, None] - torch.arange(len(alive))
    kind = (getattr(llm.config, "layer_types", None) or [""] * (index + 1))[index]
    far = (distance >= llm.config.sliding_window) if kind == "sliding_attention" else torch.tensor(False)
    same = block[alive][:, None] & block[alive]
    two_ropes = llm.config.model_type == "gemma3_text"
    hide = far | (distance < 0) & ~same if two_ropes else (far | (distance < 0)) & ~same
    mask = torch.zeros(distance.shape).masked_fill(hide, SMALLEST)[None, None]
    own = (kind,) if two_ropes else ()
    return llm.rotary_emb(hidden, positions, *own), mask


def methods(model):
    """Pruners for four layers, with what they do, slowly, and whether positions count anew.

    Where layers of linear attention are among these, stages stand where a method finds what it reads.
    """
    after, counts = {"budget_as": "after"}, model.adapter.counts_positions
    attends = [hasattr(layer, "self_attn") for layer in model.adapter.llm.layers]
    own = [at for at in (1, 2, 3) if attends[at]]
    behind = [at for at in (1, 2, 3) if attends[at - 1]]
    ends = [behind[0], behind[-1]]
    found = [
        (FitPrune(budget=0.2, **after), fitprune, False),  # reads every layer
        (PACT(budget=5, layer=2, **after), pact, False),  # weighs merged tokens in every layer's mask
    ]
    found = found if all(attends) else []
    key = {"key": 0.2, "ratio": 0.5, "positions": "renumber" if counts else "keep"}
    found += [
        (FastV(budget=5, layer=behind[0], **after), fastv, False),
        (PyramidDrop(budget=4, stages=own[-2:], positions="keep", **after), next_layer, False),
        (Pyramid(budget=3, stages=behind, **after), fastv, False),
        (HiMAP(budget=5, stages=behind[:2], **after), himap, False),
        (V2Drop(budget=0.5, stages=[1, 2, 3]), v2drop, False),
        (VTW(budget=0.5), none, False),
        (DART(budget=5, layer=2, **after), dart, False),
        (Feather(budget=5, stages=ends, **after), feather, False),
        (MustDrop(budget=4, stages=behind, **key, **after), mustdrop, counts),
        (HoliTomInside(budget=5, stages=ends, **after), holitom_inside, False),
        (PruneVidInside(budget=5, stages=ends, **after), prunevid_inside, False),
    ]
    if model.adapter.modality == "video":
        merging = FrameFusionInside(budget=5, stages=ends, threshold=SURE, **after)
        found.append((merging, framefusion_inside, False))
    if counts:
        found += [
            (PyramidDrop(budget=4, stages=[2, 3], **after), next_layer, True),
            (SparseVLM(budget=5, stages=[1, 2, 3], **after), sparsevlm, True),
            (SparseVLMPlus(budget=5, stages=[1, 2, 3], heads=2, **after), sparsevlm_plus, False),
        ]
    return found


def check(model, output, row, prompt, schedule, choose, renumber=False):
    """One row's ids and logits, at every step, against the reference."""
    new = output.sequences[row, -NEW:]
    wanted = reference(model, prompt, new, schedule, choose, renumber)
    assert new.tolist() == wanted.argmax(dim=-1).tolist()
    got = torch.stack([step[row] for step in output.logits])
    torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "kernel"), CASES)
def test_inside_the_llm(family, kernel, tmp_path):
    """Stages before, among and after the layers that add something; a padded batch; beams; keeping all."""
    model = build(family, tmp_path, attention=kernel)
    rows, questions = visuals(family)[:2], QUESTIONS[:2]
    batch, *single = (encoded(model, rows[own], questions[own]) for own in (slice(2), slice(1), slice(1, 2)))
    plain = [alone(model, parts, NoPruning()) for parts in single]
    for pruner, choose, renumber in methods(model):
        prompt = model.prune(*batch, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            output = model.model.generate(**prompt.arguments, **SETTINGS, **WITH_LOGITS)
        for row, own in enumerate(plain):
            schedule = model.schedule(pruner, prompt.entering[row], prompt.budget_crops[row])
            check(model, output, row, own, schedule, choose, renumber)
    beams = []
    for parts in (batch, single[0]):
        prompt = model.prune(*parts, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            beams.append(model.model.generate(**prompt.arguments, **SETTINGS, num_beams=2)[0, -NEW:])
    assert torch.equal(*beams)
    (pyramid,) = (pruner for pruner, *_ in methods(model) if type(pruner) is Pyramid)
    every = model.prune(*batch, replace(pyramid, budget=0.999999))
    with torch.inference_mode():
        with model.pruning_inside(every):
            kept = model.prefill(every).logits
        assert torch.equal(kept, model.prefill(model.prune(*batch, NoPruning())).logits)


def test_layers_of_linear_attention_between_stages(tmp_path, monkeypatch):
    """As in released models, where each fourth layer has attention; or at any layer, if nothing reads it."""
    config = EVERY["qwen3_5"]()
    config.text_config.num_hidden_layers = 13
    config.text_config.layer_types = [KINDS[at % 4 == 3] for at in range(13)]
    monkeypatch.setitem(EVERY, "qwen3_5", lambda: config)
    model = build("qwen3_5", tmp_path)
    rows, questions = visuals("qwen3_5")[:2], QUESTIONS[:2]
    batch, *single = (encoded(model, rows[own], questions[own]) for own in (slice(2), slice(1), slice(1, 2)))
    plain = [alone(model, parts, NoPruning()) for parts in single]
    after = {"budget_as": "after"}
    for pruner, choose in (
        (Pyramid(budget=3, stages=[4, 8, 12], **after), fastv),
        (PyramidDrop(budget=4, stages=[3, 7], positions="keep", **after), next_layer),
        (Feather(budget=5, stages=[4, 12], **after), feather),
        (V2Drop(budget=0.5, stages=[1, 6, 9]), v2drop),
    ):
        prompt = model.prune(*batch, pruner)
        with torch.inference_mode(), model.pruning_inside(prompt):
            output = model.model.generate(**prompt.arguments, **SETTINGS, **WITH_LOGITS)
        for row, own in enumerate(plain):
            schedule = model.schedule(pruner, prompt.entering[row], prompt.budget_crops[row])
            check(model, output, row, own, schedule, choose)


@pytest.mark.parametrize("family", EVERY)
def test_after_a_method_before_the_llm(family, tmp_path):
    """What is inside sees what entered, as a prompt that was always that short."""
    model = build(family, tmp_path)
    rows, questions = visuals(family)[:2], QUESTIONS[:2]
    batch, *single = (encoded(model, rows[own], questions[own]) for own in (slice(2), slice(1), slice(1, 2)))
    first = Graph(budget=0.5)
    entered = [alone(model, parts, first) for parts in single]
    for then, choose in (
        (DART(budget=1, layer=2), dart),
        (PruneVidInside(budget=1, stages=[2]), prunevid_inside),
    ):
        whole = Composed(budget=0.3, expansion=5 / 3, budget_as="after", before=first, inside=then)
        prompt = model.prune(*batch, whole)
        with torch.inference_mode(), model.pruning_inside(prompt):
            output = model.model.generate(**prompt.arguments, **SETTINGS, **WITH_LOGITS)
        for row, own in enumerate(entered):
            lengths = model.visual_by_layer(
                whole, prompt.before[row], prompt.entering[row], prompt.budget_crops[row]
            )
            assert int(own.row.visual.sum()) == lengths[0] > lengths[2]
            check(model, output, row, own, {2: lengths[2]}, choose)

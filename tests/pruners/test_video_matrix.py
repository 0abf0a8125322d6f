"""Properties of every method that compares the frames of a video. Add a new one to METHODS to include it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import EVERY, QUESTIONS, build, modality, visuals
from flop_counter import counted
from made_video import by_remainders, made_video

import script_exp.pruners as exported
from script_exp import prune
from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.agreement import prompt_problem
from script_exp.cell.answer import Answering, BatchSize, count_tokens
from script_exp.cell.prepared import RunCell
from script_exp.cell.skipped import Skipped
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError, UserError
from script_exp.models.feature_cache import FeatureCache
from script_exp.pruners import (
    EVS,
    Composed,
    DyCoke,
    FastV,
    FastVID,
    FrameFusion,
    FrameFusionInside,
    Graph,
    HoliTom,
    HoliTomInside,
    MergingVideoPruner,
    NoPruning,
    PruneVid,
    PruneVidInside,
    VidCom2,
    VideoPruner,
)
from script_exp.results.summarize import summarize_costs
from script_exp.sweeps.experiment import composed_cells

METHODS = {
    "evs": EVS,
    "vidcom2": VidCom2,
    "dycoke": DyCoke,
    "fastvid": FastVID,
    "prunevid": PruneVid,
    "holitom": HoliTom,
    "framefusion": FrameFusion,
}
STAGES = [(HoliTom, HoliTomInside), (PruneVid, PruneVidInside), (FrameFusion, FrameFusionInside)]
"""The stages of a method before the LLM and inside it."""
FAMILIES = [family for family in EVERY if modality(family) == "video"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    return build(family, tmp_path_factory.mktemp(family))


def test_every_method_is_here():
    classes = {getattr(exported, name) for name in exported.__all__} - {VideoPruner, MergingVideoPruner}
    over_time = {one for one in classes if isinstance(one, type) and issubclass(one, VideoPruner)}
    assert over_time == set(METHODS.values())


@pytest.mark.parametrize("name", METHODS)
def test_the_total_is_exact(name):
    """Of any video, T k tokens or a share of all T n are kept, distinct and in order, twice the same way."""
    for kind in ("static", "moving", "drifting"):
        for frames in (1, 2, 5):
            video = made_video(kind, frames, seed=frames)
            for budget in (1, 6, 11, 0.26, 0.999, 12):
                pruner = METHODS[name](budget=budget)
                try:
                    pruner.kept_of(12)
                except SettingError:  # it says so for every video
                    continue
                total = max(1, round(budget * frames * 12)) if isinstance(budget, float) else frames * budget
                kept, again = pruner(video), METHODS[name](budget=budget)(video)
                assert len(kept.places) == len(kept.rows) == sum(kept.counts) == total
                assert (kept.places.diff() > 0).all()
                assert 0 <= kept.places.min() <= kept.places.max() < frames * 12
                assert torch.equal(kept.places, again.places)
                assert torch.equal(kept.rows, again.rows)
                every = video.projected.flatten(0, 1)
                if not isinstance(pruner, MergingVideoPruner) or total == len(every):
                    assert torch.equal(kept.rows, every[kept.places])
    half = METHODS[name](budget=6)(made_video("drifting", dtype=torch.bfloat16))
    assert half.rows.dtype == torch.bfloat16
    with pytest.raises(ValueError, match=f"{METHODS[name].__name__} needs the frames of a video"):
        METHODS[name](budget=6)(replace(video, frames=None))
    video.projected[0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="the visual tokens or embeddings are not finite"):
        METHODS[name](budget=6)(video)


def features(model, prompt):
    (output,) = prompt.arguments["mm_encoder_outputs"].values()  # GLM's videos are under images
    return output.pooler_output


def test_in_every_family(model, family):
    """The frames arrive in order; keeping all is the stock model bitwise; a batch is like its rows."""
    rows, prompts = visuals(family)[:2], [model.chat_prompt(question) for question in QUESTIONS[:2]]
    reads = HoliTom(budget=1).reads
    inputs = model.preprocess(rows, prompts)
    images = model.encode_images(inputs, reads)
    second = model.preprocess(rows[1:], prompts[1:])
    steps, n, _ = images[0].visual.projected.shape
    assert images[0].visual.frames == -(-3 // steps)  # three frames, in pairs if the tower merges them
    stock = model.prune(inputs, images, NoPruning())
    reference = model.prefill(stock).logits
    for make in METHODS.values():
        everything = model.prune(inputs, images, make(budget=n))
        for name in ("input_ids", "attention_mask"):
            assert torch.equal(everything.arguments[name], stock.arguments[name])
        for entering, own in zip(features(model, everything), features(model, stock), strict=True):
            assert torch.equal(entering, own)
        pruner = make(budget=0.3)
        prompt = model.prune(inputs, images, pruner)
        total = round(0.3 * steps * n)
        assert [sum(kept.counts) for kept in prompt.kept] == prompt.entering == [total, total]
        assert prompt.separators == stock.separators
        alone = model.prune(second, images[1:], pruner)
        assert torch.equal(alone.kept[0].places, prompt.kept[1].places)
        logits = model.prefill(prompt).logits[1:]
        torch.testing.assert_close(logits, model.prefill(alone).logits, atol=2e-4, rtol=1e-4)
    assert torch.equal(model.prefill(everything).logits, reference)  # features and placeholders are the same


def both(before, inside):
    """Twice the budget enters the LLM."""
    parts = {"before": before(budget=1), "inside": inside(budget=1, stages=(2,))}
    return Composed(budget=0.25, expansion=2, budget_as="after", **parts)


def test_both_stages_of_a_method(model, family):
    """A batch is like its rows; the stage inside knows where tokens come from, and divides by parts."""
    rows, prompts = visuals(family)[:2], [model.chat_prompt(question) for question in QUESTIONS[:2]]
    inputs, second = model.preprocess(rows, prompts), model.preprocess(rows[1:], prompts[1:])
    images = model.encode_images(inputs, HoliTom(budget=1).reads)
    steps, n, _ = images[0].visual.projected.shape
    prompt = model.prune(inputs, images, both(EVS, PruneVidInside))
    for image, known, entering in zip(images, prompt.known, features(model, prompt), strict=True):
        origin = known.origin
        assert torch.equal(entering[: len(origin.crop)], image.visual.projected[origin.crop, origin.place])
        assert torch.equal(origin.part, origin.crop)
    all_of_it = model.prune(inputs, images, FrameFusionInside(budget=n, stages=(2,), budget_as="after"))
    with model.pruning_inside(all_of_it):
        whole = model.prefill(all_of_it).logits
    assert torch.equal(whole, model.prefill(model.prune(inputs, images, NoPruning())).logits)
    average = replace(both(EVS, PruneVidInside), budget=0.11, expansion=1.3, budget_as="average")
    lengths = model.visual_by_layer(average, steps * n, round(0.11 * 1.3 * steps * n), steps)
    assert abs(sum(lengths) - 4 * 0.11 * steps * n) < 3.5  # by frame it would be off by 7; GLM has 40 tokens
    for before, inside in STAGES:
        logits = []
        for given, own in ((inputs, images), (second, images[1:])):
            prompt = model.prune(given, own, both(before, inside))
            with model.pruning_inside(prompt) as running:
                logits.append(model.prefill(prompt).logits[-1])
            left = running.remaining[-1][prompt.tokens[-1]]
            entering = round(0.5 * steps * n)
            assert (left.shape[0], int(left.sum())) == (entering, round(entering / 2))
        torch.testing.assert_close(*logits, atol=2e-4, rtol=1e-4)
        if inside is PruneVidInside:
            (origin,) = [known.origin for known in prompt.known]
            kept = before(budget=0.5)(images[1].visual)
            assert torch.equal(origin.part, before(budget=0.5).parts(images[1].visual, kept.places))
            sizes = origin.part.unique(return_counts=True)[1].tolist()
            half = round(entering / 2)
            counts = by_remainders([size * half / entering for size in sizes], half, sizes)
            names = origin.part.unique().tolist()
            assert [int(left[origin.part == name].sum()) for name in names] == counts


@pytest.mark.parametrize(("before", "inside"), STAGES, ids=lambda one: one.__name__)
def test_flops_of_both_stages(before, inside, tmp_path):
    """The choice over time, the rows that the second stage reads, and every layer, against the counter."""
    model = build("llava_next_video", tmp_path, attention="eager")
    ((visual,),) = visuals("llava_next_video")[:1]
    sample = Sample("0", lambda: visual, QUESTIONS[0], QUESTIONS[0], (), "all", "0")
    pruner = both(before, inside)
    inputs = model.preprocess([[visual]], [model.chat_prompt(QUESTIONS[0])])
    images, prompts = model.encode_images(inputs, pruner.reads), []
    choice = counted(lambda: prompts.append(model.prune(inputs, images, pruner)))
    with model.pruning_inside(prompts[0]):
        prefill = counted(lambda: model.prefill(prompts[0]))
    (record,) = count_tokens(model, pruner, [sample])
    stages = summarize_costs(model, pruner, [record])[0]["stages"]
    assert stages["llm"] + stages["lm_head"] + stages["pruner"] == choice + prefill


def test_records_and_composition(model, family):
    """A record has what each frame kept; a method inside the LLM prunes what one over time lets in."""
    benchmark = Shapes(scenes=1, scene_seed=7)
    sample = benchmark.samples()[0]
    ((visual,),) = visuals(family)[:1]
    sample = replace(sample, visual=lambda: visual, question=QUESTIONS[0], prompt=QUESTIONS[0])
    video = model.encode(model.process(visual)).image
    steps, n, _ = video.visual.projected.shape
    inside = Composed(
        budget=0.25, before=EVS(budget=1), inside=FastV(budget=1, layer=2), budget_as="after", expansion=2
    )
    over_time = [both(*stages) for stages in STAGES[1:]]
    for pruner in (EVS(budget=0.5), VidCom2(budget=0.5), PruneVid(budget=0.5), *over_time, inside):
        answering = Answering(
            model, benchmark, pruner, FeatureCache(2**30), Skipped(allowed=False), BatchSize(1)
        )
        ((record,),) = answering.answer([[sample]])
        assert prompt_problem(model, pruner, sample, record) is None
        assert sum(record.kept_by_crop) == record.kept
        assert [len(frame) for frame in record.kept_indices] == record.kept_by_crop
        entering = max(1, round(0.5 * steps * n))
        assert record.kept == entering if isinstance(pruner, VideoPruner) else record.by_layer[0] == entering
    assert record.by_layer[1] == entering
    assert record.kept < entering
    assert set(record.by_layer[2:]) == {record.kept}


def test_a_run_about_images_is_refused():
    ((_, config),) = composed_cells(["pruner=composed", "budget=64", "pruner@pruner.before=evs"])
    message = "expected a method for images; this one compares the frames of a video, and benchmark=shapes"
    with pytest.raises(SettingError, match=f"^pruner=evs-fastv: {message} has images$"):
        RunCell.prepare(RunSettings.from_config(config))
    ((_, config),) = composed_cells(["pruner=framefusion_inside", "budget=64"])
    with pytest.raises(SettingError, match=f"^pruner=framefusion_inside: {message} has images$"):
        RunCell.prepare(RunSettings.from_config(config))


def test_a_model_of_ones_own_on_images_is_refused(tmp_path):
    model = build("llava_onevision_video", tmp_path)
    inside = Composed(budget=5, before=EVS(budget=5), inside=FastV(budget=5))
    over_time = Composed(budget=5, before=Graph(budget=5), inside=FrameFusionInside(budget=5))
    for pruner in (EVS(budget=5), inside, over_time):
        with (
            pytest.raises(SettingError, match=r"expected a method for images; .* need modality=video"),
            prune(model.model, model.processing, pruner),
        ):
            pass

"""A method before the LLM and one inside it under one budget, against the two run one after the other."""

from __future__ import annotations

import pytest
import torch
from families import build, pruned_rows, visuals
from flop_counter import counted
from small_llava import load

from script_exp import prune
from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.shapes import Shapes
from script_exp.cell.answer import Answering, BatchSize, count_tokens
from script_exp.cell.prepared import RunCell
from script_exp.cell.skipped import Skipped
from script_exp.config.command_line import check_arguments
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError, UserError
from script_exp.models.feature_cache import FeatureCache
from script_exp.models.layer_hooks import layer_pruning
from script_exp.pruners import (
    DART,
    VTW,
    Composed,
    Downsample,
    FastV,
    Feather,
    Graph,
    MustDrop,
    NoPruning,
    PruMerge,
    PyramidDrop,
    Random,
    SparseVLMPlus,
    Trim,
)
from script_exp.results.code_version import file_hash
from script_exp.results.summarize import summarize_costs
from script_exp.sweeps.experiment import composed_cells
from script_exp.tiny import WEIGHTS

FAMILIES = ["llava", "llava_next", "qwen2_5_vl"]


def composed(budget=8, expansion=1.5, budget_as="average", inside=None, before=None):
    """The parts' own budgets are placeholders."""
    inside = inside or FastV(budget=1, layer=2)
    return Composed(
        budget=budget,
        expansion=expansion,
        budget_as=budget_as,
        before=before or Graph(budget=1),
        inside=inside,
    )


def test_one_budget_gives_both_counts():
    assert composed().lengths(576, 4) == [12, 12, 4, 4]  # VScan's split: 1.5 times the mean enters
    assert composed(budget_as="after").lengths(576, 4) == [12, 12, 8, 8]
    assert composed(budget=0.1, budget_as="after").lengths(576, 4) == [86, 86, 57, 57]
    pyramid = composed(budget=64, inside=PyramidDrop(budget=1, stages=[16]))
    assert pyramid.lengths(576, 32) == [96] * 16 + [32] * 16  # VScan's published 96 and 32
    assert pyramid.renumbers
    assert composed(budget=64, inside=VTW(budget=1)).lengths(576, 6) == [96] * 4 + [0] * 2


def test_what_does_not_fit_is_one_sentence():
    for make, message in (
        (lambda: composed(expansion=1), "expansion=1: expected a number > 1"),
        (lambda: composed(budget=0.9), r"expansion=1.5: expected less than 1 / budget = 1.1"),
        (
            lambda: composed(before=FastV(budget=1)),
            "before=FastV: expected a method that prunes before the LLM",
        ),
        (
            lambda: composed(inside=Graph(budget=1)),
            "inside=Graph: expected a method that prunes inside the LLM",
        ),
        (
            lambda: composed(before=NoPruning()),
            "before=NoPruning: expected a method that prunes; to prune inside",
        ),
        (lambda: composed(0.1, before=NoPruning()), "before=NoPruning: expected a method that prunes"),
        (
            lambda: composed(before=PruMerge(budget=1, count="adaptive")),
            "before=PruMerge: expected a method that keeps its whole budget",
        ),
        (lambda: composed(inside=composed()), "inside=Composed: expected a method that prunes inside"),
        (lambda: composed(inside=Feather(budget=1)), "inside=Feather: expected a method that needs no grid"),
        (
            lambda: composed(inside=MustDrop(budget=1)),
            "inside=MustDrop: expected a method that reads nothing of the vision tower",
        ),
        (
            lambda: composed(400).lengths(576, 4),
            "budget=400: expected at most 384, since 1.5 times as many enter",
        ),
        (lambda: composed(8, 4).lengths(576, 4), "budget=8: expected at least 17 as an average"),
        (
            lambda: composed(13, 1.1, before=Downsample(budget=1), budget_as="after").lengths(576, 4),
            "expansion=1.1: expected more: of 576 tokens Downsample lets 12 enter, less than the budget",
        ),
        (
            lambda: composed(0.1, before=Downsample(budget=1), budget_as="after").lengths(576, 4),
            "before=Downsample: expected a method that keeps any share: of 576 tokens it keeps 81, not 86",
        ),
        (
            lambda: composed(64, inside=VTW(budget=1), budget_as="after"),
            "budget_as=after: expected one of average",
        ),
    ):
        with pytest.raises(SettingError, match=f"^{message}"):
            make()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_one_after_the_other(family, tmp_path):
    """Bitwise, in a padded batch; lengths, records and FLOPs are those that ran."""
    model = build(family, tmp_path, attention="eager")
    whole = composed(5, inside=SparseVLMPlus(budget=1, stages=[1, 2, 3]), budget_as="after")
    rows = [(images, number) for number, images in enumerate(visuals(family)[:2])]
    prompt, images = pruned_rows(model, rows, whole)
    first, _ = pruned_rows(model, rows, Graph(budget=8))
    assert prompt.entering == first.entering
    with torch.inference_mode():
        with model.pruning_inside(prompt):
            both = model.prefill(prompt)
        image = first.arguments["input_ids"] == model.adapter.placeholder_id
        crops = [one.budget_crops for one in images]
        basis = [8 * count for count in crops] if not model.adapter.variable_size else first.entering
        with layer_pruning(model.adapter.llm, whole.inside, first.tokens, crops, basis, image):
            apart = model.prefill(first)
    assert torch.equal(both.logits, apart.logits)
    picture = visuals(family)[0][0]
    sample = Sample("0", lambda: picture, "what?", "what?", (), "all", "0")
    (record,) = count_tokens(model, whole, [sample])
    alone, _ = pruned_rows(model, rows[:1], whole)
    assert record.by_layer[0] == alone.entering[0]
    assert record.kept == record.by_layer[-1] == 5 * record.budget_crops
    flops, _ = summarize_costs(model, whole, [record])
    inputs = model.preprocess([[picture]], [model.chat_prompt("what?")])
    encoded = model.encode_images(inputs)
    prompts = []
    choice = counted(lambda: prompts.append(model.prune(inputs, encoded, whole)))
    with model.pruning_inside(prompts[0]):
        prefill = counted(lambda: model.prefill(prompts[0]))
    stages = flops["stages"]
    assert stages["pruner"] + stages["llm"] + stages["lm_head"] == choice + prefill


def test_around_ones_own_generate(llava):
    """An aggregated token counts as one that enters, and a method that asks gets the question."""
    pruner = composed(5, before=Trim(budget=1), budget_as="after")
    assert pruner.needs_query
    assert pruner.query_text == Trim.query_text
    model, processing = llava.model, llava.processing
    inputs = llava.preprocess([visuals("llava")[0]], [llava.chat_prompt("what is it?")])
    with prune(model, processing, pruner, questions=["what is it?"]):
        output = model.generate(**inputs, max_new_tokens=2, do_sample=False, return_dict_in_generate=True)
    text = inputs["input_ids"].shape[1] - 576
    held = [layer.keys.shape[2] - text - 1 for layer in output.past_key_values.layers]
    assert held == [8, 8, 5, 5]


def test_two_choices_of_the_configs():
    given = ["pruner=composed", "budget=64", "seed=3", "pruner@pruner.before=random"]
    parts = ["pruner@pruner.inside=dart", "pruner.inside.visual_pivots=3"]
    check_arguments([*given, *parts])
    ((_, config),) = composed_cells([*given, *parts])
    cell = RunCell.prepare(RunSettings.from_config(config))
    assert cell.name == "random-dart-64-s3"
    assert cell.pruner == composed(
        64,
        before=Random(budget=1, seed=3),
        inside=DART(budget=1, visual_pivots=3, layer=1),
        budget_as="after",
    )
    assert (
        cell.pruner_code == file_hash(Composed, Random, DART) != file_hash(Composed)
    )  # a changed part is told
    with pytest.raises(UserError, match=r"pruner=drat: expected one of .* \(did you mean dart"):
        check_arguments([*given, "pruner@pruner.inside=drat"])
    with pytest.raises(UserError, match=r"pruner.inside.layr=2: expected one of the keys"):
        check_arguments([*given, "pruner.inside.layr=2"])
    ((_, config),) = composed_cells([*given, "pruner.inside.layer=9"])
    with pytest.raises(
        UserError, match=r"pruner.inside.layer=9: expected a decoder layer from 1 to 3; the LLM"
    ):
        RunCell.prepare(RunSettings.from_config(config))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["budget=0.05", "pruner=fastv", "pruner.budget_as=average"],
            "budget=0.05: expected at least 0.0715 as an average over 28 layers, since the first 2 see all",
        ),
        (
            ["budget=64", "pruner=vtw"],
            "budget=64: expected a share between 0 and 1: images of model=qwen2_5_vl_7b differ in size",
        ),
        (
            [
                "budget=0.1",
                "pruner=composed",
                "pruner@pruner.before=trim",
                "pruner@pruner.inside=pyramiddrop",
            ],
            "pruner.inside.positions=renumber: expected keep: positions of this model are places",
        ),
    ],
)
def test_sizes_and_places_that_differ_are_refused_before_loading(given, message):
    ((_, config),) = composed_cells([*given, "model=qwen2_5_vl_7b", "model.weights=random"])
    with pytest.raises(UserError, match=f"^{message}"):
        RunCell.prepare(RunSettings.from_config(config))


def test_what_is_recorded_as_kept_is_left_by_both():
    tiny, shapes, whole = load(WEIGHTS), Shapes(scenes=1, scene_seed=7), composed(64, budget_as="after")
    (sample, *_) = shapes.samples()
    loop = Answering(tiny, shapes, whole, FeatureCache(2**30), Skipped(allowed=False), BatchSize(1))
    ((record,),) = loop.answer([[sample]])
    inputs = tiny.preprocess([[sample.visual()]], [tiny.chat_prompt(sample.prompt)])
    first = tiny.prune(inputs, tiny.encode_images(inputs), Graph(budget=96))
    (entered,), llm = first.kept[0].indices, tiny.adapter.llm
    with torch.inference_mode(), layer_pruning(llm, whole.inside, first.tokens, [1]) as inside:
        tiny.prefill(first)
    left = entered[inside.remaining[first.tokens]]
    assert record.kept_indices == [left.tolist()]
    assert record.by_layer == [96, 96, 64, 64]

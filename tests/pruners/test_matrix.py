"""Properties of every pruner, in one matrix. Add a new method to METHODS to include it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import batch

from script_exp.errors import SettingError, UserError
from script_exp.pruners import (
    ApET,
    FastV,
    Graph,
    LayerPruner,
    NoPruning,
    Pool,
    PruMerge,
    PruMergePlus,
    Pruner,
    Pyramid,
    QueryConditioned,
    Random,
    ScorePruner,
    Script,
    ScriptReleased,
    ToMe,
    Trim,
    VisionZip,
    VScan,
)
from script_exp.pruners.contract.signals import Reads, Signal

METHODS = {
    "none": NoPruning,
    "random": Random,
    "graph": Graph,
    "query": QueryConditioned,
    "script": Script,
    "script_relevance": lambda budget: Script(budget=budget, padding="relevance", walk=1),
    "script_graph": lambda budget: Script(budget=budget, padding="graph", graph_keep=0.2),
    "trim": Trim,
    "trim_plain": lambda budget: Trim(budget=budget, aggregate=False),
    "fastv": lambda budget: FastV(budget=budget, layer=1, budget_as="after"),
    "fastv_2": lambda budget: FastV(budget=budget, layer=2, budget_as="after"),
    "pyramid": lambda budget: Pyramid(budget=budget, budget_as="after"),
    "pyramid_2": lambda budget: Pyramid(budget=budget, budget_as="after", stages=[1, 3]),
    "released_head": ScriptReleased,
    "released_first": lambda budget: ScriptReleased(budget=budget, version="first"),
    "released_build": lambda budget: ScriptReleased(budget=budget, version="build"),
    "released_plot": lambda budget: ScriptReleased(budget=budget, version="plot"),
    "apet": ApET,
    "pool": Pool,
    "prumerge": PruMerge,
    "prumerge_plus": PruMergePlus,
    "tome": ToMe,
    "tome_keys": lambda budget: ToMe(budget=budget, metric="keys"),
    "visionzip": VisionZip,
    "visionzip_official": lambda budget: VisionZip(budget=budget, layout="official"),
    "vscan": lambda budget: VScan(budget=budget, layer=-1),
}
SIGNALS = frozenset[Signal]().union(*(make(budget=1).reads.signals for make in METHODS.values()))
BUDGETS = [1, 2, 31, 64, 575, 576]
TOKENS = 576


def refusal(name, budget):
    """What a method says to a budget that it cannot meet, before it sees an image; None if it can."""
    try:
        pruner = METHODS[name](budget=budget)
        if isinstance(pruner, Pruner):
            pruner.kept_of(TOKENS)
    except SettingError as error:
        return str(error)
    return None


CELLS = [(name, budget) for name in METHODS for budget in BUDGETS if refusal(name, budget) is None]
REFUSED = [(name, budget) for name in METHODS for budget in BUDGETS if refusal(name, budget) is not None]


@pytest.fixture(scope="module", params=[1, 3], ids=["batch1", "batch3"])
def prepared(request, llava_any_dtype):
    """Model, inputs, encoded images and queries."""
    model = llava_any_dtype
    inputs, questions = batch(model, request.param)
    images = model.encode_images(inputs, Reads(joint=True, signals=SIGNALS))
    return model, inputs, images, model.encode_queries(questions)


def run(prepared, pruner):
    model, inputs, images, queries = prepared
    return model.prune(inputs, images, pruner, queries, keys=[f"sample-{i}" for i in range(len(images))])


@pytest.mark.parametrize(("name", "budget"), CELLS)
def test_keeps_exactly_the_budget(prepared, name, budget):
    model, inputs, images, _ = prepared
    pruner = METHODS[name](budget=budget)
    prompt = run(prepared, pruner)
    wanted = TOKENS if name == "none" else budget
    with model.pruning_inside(prompt):
        lengths = [layer.keys.shape[2] for layer in model.prefill(prompt).past_key_values.layers]
    text = (inputs["attention_mask"].sum(dim=1) - TOKENS).max().item()
    if isinstance(pruner, LayerPruner):
        assert lengths == [text + visual for visual in pruner.lengths(TOKENS, len(lengths))]
        assert lengths[-1] == text + wanted
        return
    assert set(lengths) == {text + wanted}
    for image, kept in zip(images, prompt.kept, strict=True):
        assert kept.tokens.shape == (1, wanted, image.visual.projected.shape[-1])
        assert kept.tokens.dtype == image.visual.projected.dtype
        single = kept.indices.shape[1]
        assert (single < wanted) == (pruner.aggregates and 1 < wanted < TOKENS)
        assert (kept.indices.diff(dim=1) > 0).all()
        assert kept.indices.min() >= 0
        assert kept.indices.max() < TOKENS
        if type(pruner).output is Pruner.output:  # it does not merge
            assert torch.equal(kept.tokens[0], image.visual.projected[0, kept.indices[0]])


@pytest.mark.parametrize(("name", "budget"), REFUSED)
def test_a_budget_that_is_refused_is_refused_while_running_too(prepared, name, budget):
    message = refusal(name, budget)
    assert message.startswith(f"budget={budget}: expected ")
    with pytest.raises(SettingError) as error:
        run(prepared, METHODS[name](budget=budget))
    assert str(error.value) == message


def logits(model, prompt):
    with model.pruning_inside(prompt):
        return model.prefill(prompt).logits


@pytest.mark.parametrize(("name", "budget"), CELLS)
def test_is_deterministic(prepared, name, budget):
    first, second = run(prepared, METHODS[name](budget=budget)), run(prepared, METHODS[name](budget=budget))
    for one, other in zip(first.kept, second.kept, strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(*(logits(prepared[0], prompt) for prompt in (first, second)))


@pytest.mark.parametrize(("name", "budget"), CELLS)
def test_text_is_untouched(prepared, name, budget):
    """The ids that enter the LLM; for a layer pruner also what its deeper layers still hold."""
    model, inputs, _, _ = prepared
    pruner = METHODS[name](budget=budget)
    prompt = run(prepared, pruner)
    image = model.adapter.placeholder_id
    for row in range(len(inputs["input_ids"])):
        before = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        after = prompt.arguments["input_ids"][row][prompt.arguments["attention_mask"][row].bool()]
        assert after[after != image].tolist() == before[before != image].tolist()
    if isinstance(pruner, LayerPruner):
        assert (
            kept_text(model, prompt, pruner.stage_layers(len(model.adapter.llm.layers))[-1])
            == ((inputs["input_ids"] != image) & inputs["attention_mask"].bool()).sum(dim=1).tolist()
        )


def kept_text(model, prompt, layer):
    """Text positions of each row among the position ids that a pruned layer gets."""
    seen = {}

    def look(_, args, kwargs):
        seen["positions"] = kwargs["position_ids"]

    with model.pruning_inside(prompt):
        handle = model.adapter.llm.layers[layer].register_forward_pre_hook(look, with_kwargs=True)
        model.prefill(prompt)
        handle.remove()
    # A forward pass without position ids numbers every column, padding included.
    ids = prompt.arguments["input_ids"].gather(1, seen["positions"])
    real = prompt.arguments["attention_mask"].gather(1, seen["positions"]).bool()
    return ((ids != model.adapter.placeholder_id) & real).sum(dim=1).tolist()


@pytest.mark.parametrize("name", METHODS)
def test_keeping_all_is_the_unpruned_model_bitwise(prepared, name):
    model, inputs, _, _ = prepared
    with torch.inference_mode():
        reference = model.model(**inputs, use_cache=True, logits_to_keep=1)
    prompt = run(prepared, METHODS[name](budget=TOKENS))
    with model.pruning_inside(prompt):
        output = model.prefill(prompt)
    assert torch.equal(output.logits, reference.logits)


@pytest.mark.parametrize("name", METHODS)
def test_a_share_is_a_budget(prepared, name):
    pruner = METHODS[name](budget=1 / 9)
    prompt = run(prepared, pruner)
    row = prepared[0].visual_by_layer(pruner, TOKENS, prompt.entering[0], 1)
    assert row[-1] == (TOKENS if name == "none" else 64)


def test_the_methods_differ(prepared):
    """On the same tokens no two methods keep the same set, apart from documented identities."""
    sets = {}
    for name in ("random", "graph", "query", "script", "trim_plain", "released_head", "released_plot"):
        sets[name] = tuple(run(prepared, METHODS[name](budget=64)).kept[0].indices[0].tolist())
    assert len(set(sets.values())) == len(sets)


def overflown(image, value):
    """The image with ``value`` in the features of one of its tokens, as where float16 did not suffice."""
    visual = image.visual
    projected, joint, packed = (one.clone() for one in (visual.projected, visual.joint, image.packed))
    projected[0, 100], joint[0, 100], packed[100] = value, value, value
    return replace(image, visual=replace(visual, projected=projected, joint=joint), packed=packed)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("none", "random")])
def test_nothing_is_chosen_by_what_is_not_finite(prepared, name, value):
    """NaN would be ranked highest, and with it what it spreads to; where all is kept nothing is ranked."""
    model, inputs, images, queries = prepared
    broken = model, inputs, [*images[:-1], overflown(images[-1], value)], queries
    method = type(METHODS[name](budget=64)).__name__
    with pytest.raises(UserError, match=f"^{method}: the .* are not finite.*dtype=bfloat16 or dtype=float32"):
        logits(model, run(broken, METHODS[name](budget=64)))
    assert logits(model, run(broken, METHODS[name](budget=TOKENS))).isnan().any()


class Ratio(ScorePruner):
    """A score that is 0/0 where a token is all zeros."""

    def score(self, visual, query):
        return visual.projected.sum(dim=-1) / visual.projected.norm(dim=-1)


def test_a_score_of_ones_own_has_to_be_a_number(prepared):
    _, _, images, _ = prepared
    visual = images[0].visual
    assert Ratio(budget=64)(visual).indices.shape == (1, 64)
    empty = visual.projected.clone()
    empty[0, 5] = 0
    with pytest.raises(UserError, match=r"^Ratio: the scores are not finite"):
        Ratio(budget=64)(replace(visual, projected=empty))

"""Properties of every pruner, in one matrix. Add a new method to METHODS to include it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from small_llava import batch, load

from script_exp.errors import SettingError, UserError
from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    ApET,
    CDPruner,
    DivPrune,
    Downsample,
    FasterVLM,
    FastV,
    Feather,
    FitPrune,
    GPrune,
    Graph,
    HiMAP,
    HiPrune,
    HiRED,
    HoliTomInside,
    HoloV,
    LayerPruner,
    MMTok,
    MustDrop,
    NoPruning,
    Pool,
    PruMerge,
    PruMergePlus,
    Pruner,
    PruneSID,
    PruneVidInside,
    Pyramid,
    PyramidDrop,
    Query,
    QueryConditioned,
    Random,
    Scope,
    ScorePruner,
    Script,
    ScriptReleased,
    SparseVLM,
    SparseVLMPlus,
    Stride,
    ToMe,
    Trim,
    V2Drop,
    VisionZip,
    VisPruner,
    VisualTokens,
    VScan,
)
from script_exp.pruners.contract.budget import grid_within
from script_exp.pruners.contract.signals import Reads, Signal

METHODS = {
    "none": NoPruning,
    "cdpruner": CDPruner,
    "divprune": DivPrune,
    "downsample": Downsample,
    "fastervlm": FasterVLM,
    "gprune": GPrune,
    "hiprune": HiPrune,
    "hired": HiRED,
    "holov": HoloV,
    "mmtok": MMTok,
    "prunesid": PruneSID,
    "scope": Scope,
    "stride": Stride,
    "vispruner": VisPruner,
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
    "pyramiddrop": lambda budget: PyramidDrop(budget=budget, budget_as="after"),
    "vtw": VTW,
    "v2drop": V2Drop,
    "fitprune": lambda budget: FitPrune(budget=budget, budget_as="after"),
    "himap": lambda budget: HiMAP(budget=budget, budget_as="after"),
    "feather": lambda budget: Feather(budget=budget, budget_as="after"),
    "sparsevlm": lambda budget: SparseVLM(budget=budget, budget_as="after"),
    "sparsevlm_plus": lambda budget: SparseVLMPlus(budget=budget, budget_as="after"),
    "mustdrop": lambda budget: MustDrop(budget=budget, budget_as="after", positions="keep"),
    "holitom_inside": lambda budget: HoliTomInside(budget=budget, budget_as="after"),
    "prunevid_inside": lambda budget: PruneVidInside(budget=budget, budget_as="after"),
    "dart": lambda budget: DART(budget=budget, budget_as="after"),
    "pact": lambda budget: PACT(budget=budget, layer=2, budget_as="after"),
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
    "vscan": VScan,
}
LAYER_METHODS = [name for name, make in METHODS.items() if isinstance(make(budget=1), LayerPruner)]
SIGNALS = frozenset[Signal]().union(*(make(budget=1).reads.signals for make in METHODS.values()))
CHOOSE_NOTHING = ("none", "random", "vtw", "downsample")
"""Methods that keep the same tokens whatever their values are."""
BUDGETS = [1, 2, 31, 64, 575, 576]
TOKENS, LAYERS = 576, 4


def refusal(name, budget):
    """What a method says to a budget that it cannot meet, before it sees an image; None if it can."""
    try:
        pruner = METHODS[name](budget=budget)
        if isinstance(pruner, Pruner):
            pruner.kept_of(TOKENS)
        else:
            pruner.lengths(TOKENS, LAYERS)
    except SettingError as error:
        return str(error)
    return None


CELLS = [(name, budget) for name in METHODS for budget in BUDGETS if refusal(name, budget) is None]
REFUSED = [(name, budget) for name in METHODS for budget in BUDGETS if refusal(name, budget) is not None]
PREPARED = {"float32-batch2": ("float32", 2), "bfloat16-batch1": ("bfloat16", 1)}


def in_every_pair(cells):
    """Every cell (method, value) in float32; in bfloat16 each method and each value, not their product."""
    single, half = PREPARED
    by_method = {name: [value for other, value in cells if other == name] for name, _ in cells}
    turned = [(name, values[turn % len(values)]) for turn, (name, values) in enumerate(by_method.items())]
    return [(single, *cell) for cell in cells] + [(half, *cell) for cell in turned]


@pytest.fixture(params=PREPARED)
def prepared(request, llava_folder):
    """Model, inputs, encoded images and queries."""
    return prepare(llava_folder, *PREPARED[request.param])


@cache  # pytest would make a fixture of any scope again for every test that parametrizes it
def prepare(folder, dtype, rows):
    model = load(folder, getattr(torch, dtype))
    inputs, questions = batch(model, rows)
    every = Reads(joint=True, words=True, signals=SIGNALS)
    return model, inputs, model.encode_images(inputs, every), model.encode_queries(questions, every)


def as_read(prepared, pruner):
    """The same with the picture at the size that the method sees."""
    model, inputs, images, queries = prepared
    if pruner.reads.smaller_to is not None and images[0].visual.smaller is None:
        images = model.encode_images(inputs, pruner.reads)
    return model, inputs, images, queries


def run(prepared, pruner):
    model, inputs, images, queries = as_read(prepared, pruner)
    return model.prune(inputs, images, pruner, queries, keys=[f"sample-{i}" for i in range(len(images))])


@pytest.mark.parametrize(("prepared", "name", "budget"), in_every_pair(CELLS), indirect=["prepared"])
def test_exact_deterministic_and_the_text_stays(prepared, name, budget):
    """Every budget is met to the token, twice the same way, and no word of the prompt is touched."""
    pruner = METHODS[name](budget=budget)
    model, inputs, images, _ = as_read(prepared, pruner)
    prompt, again = run(prepared, pruner), run(prepared, METHODS[name](budget=budget))
    wanted = budget if isinstance(pruner, LayerPruner) else pruner.kept_of(TOKENS)
    output, lengths = prefilled(model, prompt)
    text = (inputs["attention_mask"].sum(dim=1) - TOKENS).max().item()
    check_text(model, inputs, prompt)
    if isinstance(pruner, LayerPruner):
        assert lengths == [text + visual for visual in pruner.lengths(TOKENS, len(lengths))]
        assert lengths[-1] == text + wanted or pruner.budget_as == "average"
        assert torch.equal(output.logits, prefilled(model, again)[0].logits)
        schedule = pruner.schedule(TOKENS, LAYERS)
        if pruner.renumbers or not schedule:  # the positions do not tell the columns
            return
        last = max(schedule)
        words = (inputs["input_ids"] != model.adapter.placeholder_id) & inputs["attention_mask"].bool()
        assert kept_text(model, prompt, last) == words.sum(dim=1).tolist()
        return
    assert set(lengths) == {text + wanted}
    for image, kept, other in zip(images, prompt.kept, again.kept, strict=True):
        check_kept(pruner, image, kept, wanted)
        assert torch.equal(kept.indices, other.indices)
        assert torch.equal(kept.tokens, other.tokens)
    for key, value in prompt.arguments.items():  # so the model's output is the same, too
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, again.arguments[key])


def merges(pruner):
    return type(pruner).output is not Pruner.output or type(pruner).keep is not Pruner.keep


def check_kept(pruner, image, kept, wanted):
    """Shape, dtype and order of what is left of one image."""
    assert kept.tokens.shape == (1, wanted, image.visual.projected.shape[-1])
    assert kept.tokens.dtype == image.visual.projected.dtype
    assert (kept.indices.shape[1] < wanted) == (pruner.aggregates and 1 < wanted < TOKENS)
    assert (kept.indices.diff(dim=1) > 0).all()
    assert kept.indices.min() >= 0
    assert kept.indices.max() < TOKENS
    if not merges(pruner):
        assert torch.equal(kept.tokens[0], image.visual.projected[0, kept.indices[0]])


def check_text(model, inputs, prompt):
    """The ids that enter the LLM."""
    image = model.adapter.placeholder_id
    for row in range(len(inputs["input_ids"])):
        before = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        after = prompt.arguments["input_ids"][row][prompt.arguments["attention_mask"][row].bool()]
        assert after[after != image].tolist() == before[before != image].tolist()


def prefilled(model, prompt):
    """The output of a prefill, and the lengths of its caches by layer."""
    with model.pruning_inside(prompt):
        output = model.prefill(prompt)
    return output, [layer.keys.shape[2] for layer in output.past_key_values.layers]


def logits(model, prompt):
    return prefilled(model, prompt)[0].logits


@pytest.mark.parametrize(("name", "budget"), REFUSED)
@pytest.mark.parametrize("prepared", ["float32-batch2"], indirect=True)
def test_a_budget_that_is_refused_is_refused_while_running_too(prepared, name, budget):
    message = refusal(name, budget)
    assert message.startswith(f"budget={budget}: expected ")
    with pytest.raises(SettingError) as error:
        prefilled(prepared[0], run(prepared, METHODS[name](budget=budget)))
    assert str(error.value) == message


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


@pytest.mark.parametrize("name", [name for name in METHODS if refusal(name, 1 / 9) is None])
@pytest.mark.parametrize("prepared", ["float32-batch2"], indirect=True)
def test_a_share_is_a_budget(prepared, name):
    pruner = METHODS[name](budget=1 / 9)
    prompt = run(prepared, pruner)
    row = prepared[0].visual_by_layer(pruner, TOKENS, prompt.entering[0], 1)
    assert row[-1] == (TOKENS if name == "none" else 64)


def made_picture(crops):
    """144 tokens of each crop with all that any method reads, and a question."""
    random = torch.Generator().manual_seed(crops)

    def drawn(*shape):
        return torch.randn(*shape, generator=random)

    signals = {}
    for signal in sorted(SIGNALS):
        keys = (144, 4) if signal.kind.endswith("keys") else (144,)
        values = drawn(crops, *(keys if signal.kind != "class_token" else (7,)))
        signals[signal] = values.mul(2).softmax(dim=-1) if values.shape[1:] == (144,) else values
    tower, project = drawn(crops, 144, 7), torch.nn.Linear(7, 9).requires_grad_(False)
    tiles = (2, 2) if crops == 5 else None
    visual = VisualTokens(
        project(tower), drawn(crops, 144, 6), tower, project, signals=signals, grid=(12, 12), tiles=tiles
    )
    return visual, Query(drawn(2, 6), -1, drawn(3, 9))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LAYER_METHODS])
def test_a_picture_of_one_crop_or_five(name):
    """The total is exact, however a method divides it among the crops."""
    for crops, budget in product((1, 5), (1, 2, 32, 143, 144, 0.25)):
        pruner = METHODS[name](budget=budget)
        try:
            k = pruner.kept_of(144)
        except SettingError:  # a method that cannot meet it says so for every crop
            continue
        visual, query = made_picture(crops)
        if pruner.reads.smaller_to is not None:
            visual = replace(visual, smaller=grid_within(k, (12, 12)))
        kept, again = pruner(visual, query), METHODS[name](budget=budget)(visual, query)
        assert sum(kept.counts) == len(kept.places) + len(kept.aggregated) == crops * k
        assert sum(map(len, kept.by_crop)) == len(kept.rows) == len(kept.places)
        assert (kept.places.diff() > 0).all()
        assert 0 <= kept.places.min() <= kept.places.max() < crops * 144
        assert torch.equal(kept.places, again.places)
        assert torch.equal(kept.rows, again.rows)
        assert torch.equal(kept.aggregated, again.aggregated)
        every = visual.projected.flatten(0, 1)
        if k == 144 or not merges(pruner):
            assert torch.equal(kept.rows, every[kept.places])


def test_the_methods_differ(prepared):
    """On the same tokens no two methods keep the same set, apart from documented identities."""
    sets = {}
    names = ["random", "graph", "query", "script", "trim_plain", "released_head", "released_plot"]
    names += [
        "divprune",
        "fastervlm",
        "gprune",
        "hiprune",
        "holov",
        "prunesid",
        "scope",
        "stride",
        "vispruner",
    ]
    for name in names:
        sets[name] = tuple(run(prepared, METHODS[name](budget=64)).kept[0].indices[0].tolist())
    assert len(set(sets.values())) == len(sets)


def overflown(image, value):
    """The image with ``value`` in what is known of one token, as where float16 did not suffice."""

    def damaged(values):
        values = values.clone()
        values[0, 100 % values.shape[1]] = value
        return values

    visual = image.visual.map(damaged)
    return replace(image, visual=visual, packed=damaged(image.packed[None])[0])


BROKEN = list(product([name for name in METHODS if name not in CHOOSE_NOTHING], (torch.nan, torch.inf)))


@pytest.mark.parametrize(("prepared", "name", "value"), in_every_pair(BROKEN), indirect=["prepared"])
def test_nothing_is_chosen_by_what_is_not_finite(prepared, name, value):
    """NaN would be ranked highest, and with it what it spreads to; where all is kept nothing is ranked."""

    def answer(budget):
        pruner = METHODS[name](budget=budget)
        model, inputs, images, queries = as_read(prepared, pruner)
        broken = [*images[:-1], overflown(images[-1], value)]
        return logits(model, run((model, inputs, broken, queries), pruner))

    budget = 64 if refusal(name, 64) is None else 300
    method = type(METHODS[name](budget=budget)).__name__
    with pytest.raises(UserError, match=f"^{method}: the .* are not finite.*dtype=bfloat16 or dtype=float32"):
        answer(budget)
    assert answer(TOKENS).isnan().any()


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

"""FLOPs and KV cache in ``result.json``, against torch's counter around the real calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import EVERY, build, visuals, with_plain_experts
from flop_counter import counted

from script_exp.benchmarks.base import Sample
from script_exp.cell.answer import count_tokens
from script_exp.errors import UserError
from script_exp.measure.kv_cache import held_bytes
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.pruners import (
    Downsample,
    FasterVLM,
    FastV,
    MMTok,
    MustDrop,
    NoPruning,
    Pyramid,
    QueryConditioned,
    SparseVLMPlus,
)
from script_exp.pruners.contract.signals import Reads
from script_exp.results.summarize import summarize_costs

QUESTIONS = ["what is it?", "how many red stars are there in the picture?"]
PRUNERS = {
    "none": NoPruning(),
    "query": QueryConditioned(budget=5),
    "words": MMTok(budget=5),
    "saliency": FasterVLM(budget=5),
    "downsample": Downsample(budget=5),
    "fastv": FastV(budget=5, layer=2, budget_as="after"),
    "pyramid": Pyramid(budget=5, stages=(1, 3), budget_as="after"),
    "raters": SparseVLMPlus(budget=5, stages=(1, 2, 3), budget_as="after"),
    "key_set": MustDrop(budget=5, stages=(2, 3), budget_as="after", positions="keep"),
}

# A method adds to a family what it reads of the tower, the question and inside the LLM. These four read all
# that a family computes in its own way; the others differ in the LLM alone, of which there are few kinds.
OF_EVERY_FAMILY = ("query", "saliency", "downsample", "key_set")
WITH_EVERY_METHOD = ("llava", "llava_onevision", "qwen2_5_vl_video", "paligemma")
PAIRS = [
    (family, name)
    for family in EVERY
    for name in PRUNERS
    if name in OF_EVERY_FAMILY or family in WITH_EVERY_METHOD
]


@pytest.fixture(scope="module", params=EVERY)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    built = with_plain_experts(build(family, tmp_path_factory.mktemp(family), attention="eager"))
    if isinstance(built.query_encoder, ClipQueryEncoder):
        built.query_encoder._text.set_attn_implementation("eager")
    return built


@pytest.fixture(scope="module")
def encode(model):
    """Encode a picture, by number, once for all methods: features and the operations that they took."""
    found = {}

    def encode(number, inputs, reads):
        if (number, reads) not in found:
            images = []
            operations = counted(lambda: images.extend(model.encode_images(inputs, reads)))
            found[number, reads] = images, operations
        return found[number, reads]

    return encode


@pytest.fixture(scope="module")
def in_projector(model):
    """The part of them in the projector, by picture and size."""
    found = {}

    def count(number, inputs, reads):
        if (number, reads) not in found:
            found[number, reads] = counted_in_projector(model, inputs, reads)
        return found[number, reads]

    return count


@pytest.mark.parametrize(("family", "name"), PAIRS, indirect=["family"])
def test_costs_are_means_of_what_the_calls_take(model, family, encode, in_projector, name):
    pruner = PRUNERS[name]
    if pruner.reads.smaller_to is not None and not model.adapter.shrinks:
        with pytest.raises(UserError, match="pictures cannot be made smaller"):
            model.adapter.check_reads(pruner.reads, model.model.config)
        return
    numbers = (0, 2)  # of OneVision the last one is scaled down
    if family == "llava_onevision" and name == "downsample":  # which has no grid
        numbers = (0, 0)
    pictures = [visuals(family)[number][0] for number in numbers]
    samples = [
        Sample(question, lambda one=picture: one, question, question, (), "all", question)
        for picture, question in zip(pictures, QUESTIONS, strict=True)
    ]
    flops, cache = summarize_costs(model, pruner, count_tokens(model, pruner, samples))
    taken = [
        calls(model, pruner, *one, encode, in_projector)
        for one in zip(numbers, pictures, QUESTIONS, strict=True)
    ]
    means = {key: sum(one[key] for one in taken) / len(taken) for key in taken[0]}
    stages = flops["stages"]
    inside = stages["pruner"] if name in ("fastv", "pyramid", "raters", "key_set") else 0
    assert {
        "vision_tower": stages["vision_tower"],
        "projector": stages["projector"],
        "query_encoder": stages["query_encoder"],
        "prune": stages["pruner"] - inside,
        "prefill": stages["llm"] + stages["lm_head"] + inside,
        "cache": cache,
    } == means
    assert flops["prefill_total"] == sum(stages.values())
    assert (stages["pruner"] > 0) == (name not in ("none", "saliency", "downsample"))  # a sort has no product


def calls(model, pruner, number, picture, question, encode, in_projector):
    """Operations of each call on the way to the first logits, and the bytes of the cache then."""
    inputs = model.preprocess([[picture]], [model.chat_prompt(question)])
    alone = Reads(smaller_to=pruner.reads.smaller_to)
    projector = in_projector(number, inputs, alone)
    tower = encode(number, inputs, replace(alone, signals=pruner.reads.signals))[1] - projector
    images, queries, query = encode(number, inputs, pruner.reads)[0], None, 0
    if pruner.needs_query:
        query = encode(number, inputs, Reads(joint=True))[1] - tower - projector
        query += counted(lambda: model.encode_queries([question]))
    if pruner.reads.question:
        queries = model.encode_queries([question], pruner.reads)
    prompt = model.prune(inputs, images, pruner, queries)
    outputs = []
    with model.pruning_inside(prompt):
        prefill = counted(lambda: outputs.append(model.prefill(prompt)))
    return {
        "vision_tower": tower,
        "projector": projector,
        "query_encoder": query,
        "prune": counted(lambda: model.prune(inputs, images, pruner, queries)),
        "prefill": prefill,
        "cache": held_bytes(outputs[0].past_key_values),
    }


def counted_in_projector(model, inputs, reads):
    core, given = model.model.model, []
    if hasattr(core, "visual"):
        projectors = [core.visual.merger, *getattr(core.visual, "deepstack_merger_list", [])]
        projectors += [core.visual.downsample] if hasattr(core.visual, "downsample") else []
    elif hasattr(core, "connector"):
        projectors = [core.connector.modality_projection]
    else:
        projectors = [core.multi_modal_projector]
    handles = [
        one.register_forward_pre_hook(lambda module, args: given.append((module, args))) for one in projectors
    ]
    model.encode_images(inputs, reads)
    for handle in handles:
        handle.remove()
    return sum(counted(lambda module=module, args=args: module(*args)) for module, args in given)


@pytest.mark.parametrize("name", ["none", "query", "fastv"])
def test_the_llm_on_visual_tokens_alone(model, family, name):
    pruner = PRUNERS[name]
    (picture,) = visuals(family)[-1]
    sample = Sample("0", lambda: picture, QUESTIONS[0], QUESTIONS[0], (), "all", "0")
    (record,) = records = count_tokens(model, pruner, [sample])
    flops, _ = summarize_costs(model, pruner, records)
    llm = model.adapter.llm
    layers = len(llm.layers)
    entering = model.visual_by_layer(pruner, record.visual, record.kept, record.budget_crops)
    by_length = {
        tokens: counted(
            lambda tokens=tokens: llm(inputs_embeds=torch.zeros(1, tokens, llm.config.hidden_size))
        )
        for tokens in set(entering)
    }
    assert flops["llm_visual_only"] == sum(by_length[tokens] / layers for tokens in entering)

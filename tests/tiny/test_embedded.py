"""The methods on the embedded model and real scenes of its benchmark."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from small_llava import load

from script_exp.benchmarks.shapes import Shapes
from script_exp.pruners import Graph, QueryConditioned, Random, Script, ScriptReleased, Trim
from script_exp.pruners.arithmetic.released_script import released_loop
from script_exp.pruners.contract.signals import Reads
from script_exp.tiny import WEIGHTS
from script_exp.training.monitor import COVERED
from script_exp.training.oracle import Oracle, needed_patches


@pytest.fixture(scope="module")
def tiny():
    return load(WEIGHTS)


@pytest.fixture(scope="module")
def samples():
    return Shapes(scenes=3, scene_seed=7).samples()


@pytest.fixture(scope="module")
def encoded(tiny, samples):
    """Image and query of every sample."""
    prompts = [tiny.chat_prompt(sample.question) for sample in samples]
    inputs = tiny.preprocess([[sample.visual()] for sample in samples], prompts)
    images = tiny.encode_images(inputs, Reads(joint=True))
    return list(zip(images, tiny.encode_queries([sample.question for sample in samples]), strict=True))


def test_graph_query_and_script_differ(encoded):
    """On nearly every image; now and then the graph removes nothing that the DPP picks."""
    methods = (Graph, QueryConditioned, Script)
    for one, other in itertools.combinations(methods, 2):
        differ = [
            not torch.equal(
                one(budget=64)(image.visual, query).indices, other(budget=64)(image.visual, query).indices
            )
            for image, query in encoded
        ]
        assert sum(differ) >= 0.8 * len(differ)


def test_the_oracle_keeps_what_the_question_needs(encoded, samples):
    needed = needed_patches(scene_seed=7, scenes=3)
    assert list(needed) == [sample.id for sample in samples]
    for (image, _), sample in zip(encoded, samples, strict=True):
        kept = set(Oracle(budget=64, needed=needed)(replace(image.visual, key=sample.id)).indices[0].tolist())
        wanted = set((needed[sample.id] > COVERED).nonzero()[0].tolist())
        assert len(kept & wanted) == min(64, len(wanted))


def test_only_methods_that_ask_the_question_depend_on_it(encoded):
    image = encoded[0][0]
    methods = {Graph: False, Random: False, QueryConditioned: True, Script: True, Trim: True}
    for make, depends in methods.items():
        sets = {tuple(make(budget=32)(image.visual, query).indices[0].tolist()) for _, query in encoded[:5]}
        assert (len(sets) > 1) is depends


@pytest.mark.parametrize("k", [32, 64, 128])
def test_the_released_graph_has_no_effect(encoded, k):
    for image, query in encoded:
        pruner = ScriptReleased(budget=k)
        relevance = pruner.relevance(image.visual.joint, query)
        unit = torch.nn.functional.normalize(image.visual.projected, dim=-1)
        picks = released_loop(relevance[:, :, None] * (unit @ unit.mT) * relevance[:, None, :], k)
        assert torch.equal(pruner(image.visual, query).indices, picks.sort(dim=1).values)

"""Hyper-parameters out of range and inputs that do not fit the contract."""

from __future__ import annotations

import pytest
import torch

from script_exp.errors import SettingError
from script_exp.pruners import (
    FastV,
    Graph,
    GraphRedundancy,
    NoPruning,
    Query,
    QueryConditioned,
    Random,
    Script,
    Trim,
    VisualTokens,
)
from script_exp.pruners.base import non_default_fields


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Graph(budget=4, threshold=1.5), "threshold=1.5"),
        (lambda: Graph(budget=4, threshold="high"), "threshold=high"),
        (lambda: Graph(budget=4, gamma=-1), "gamma=-1"),
        (lambda: Graph(budget=4, gamma=float("nan")), "gamma=nan"),
        (lambda: QueryConditioned(budget=4, sign=0), "sign=0"),
        (lambda: QueryConditioned(budget=4, relevance_range="batch"), "relevance_range=batch"),
        (lambda: Script(budget=4, graph_keep=0), "graph_keep=0"),
        (lambda: Script(budget=4, walk=0.5), "walk=0.5"),
        (lambda: Script(budget=4, padding="zeros"), "padding=zeros"),
        (lambda: FastV(budget=4, layer=0), "layer=0"),
        (lambda: FastV(budget=4, layer=1.5), "layer=1.5"),
        (lambda: FastV(budget=4, budget_as="last"), "budget_as=last"),
        (lambda: Trim(budget=4, aggregate="no"), "aggregate=no"),
        (lambda: Random(budget=4, seed=-1), "seed=-1"),
        (lambda: Random(budget=4, seed="abc"), "seed=abc"),
        (lambda: Random(budget=0), "budget=0"),
        (lambda: Random(budget=-3), "budget=-3"),
        (lambda: Random(budget=1.0), "budget=1.0"),
        (lambda: Random(budget=0.0), "budget=0.0"),
        (lambda: Random(budget=True), "budget=True"),
        (lambda: Random(budget="64"), "budget=64"),
        (lambda: Random(budget=float("nan")), "budget=nan"),
    ],
)
def test_out_of_range(make, key):
    with pytest.raises(SettingError, match=f"^{key}: expected "):
        make()


def test_a_budget_above_the_crop_names_both_numbers():
    with pytest.raises(SettingError, match=r"budget=10: expected at most 9"):
        Random(budget=10)(VisualTokens(torch.randn(1, 9, 4)))


def test_fastv_as_an_average_has_a_floor():
    pruner = FastV(budget=64, layer=2)
    assert pruner.lengths(576, 32) == [576, 576] + [30] * 30
    with pytest.raises(SettingError, match=r"budget=36: expected at least 37 as an average over 32 layers"):
        FastV(budget=36, layer=2).lengths(576, 32)[-1]
    assert FastV(budget=37, layer=2).lengths(576, 32)[-1] == 1
    with pytest.raises(SettingError, match=r"layer=32: expected a decoder layer from 1 to 31"):
        FastV(budget=64, layer=32).lengths(576, 32)[-1]


def test_missing_query_and_wrong_shapes():
    tokens = torch.randn(1, 9, 4)
    with pytest.raises(ValueError, match="needs the question"):
        Script(budget=2)(VisualTokens(tokens))
    with pytest.raises(ValueError, match="do not match"):
        Script(budget=2)(VisualTokens(tokens, torch.randn(1, 8, 3)), Query(torch.randn(1, 3)))
    with pytest.raises(ValueError, match=r"\(crops, n, d\)"):
        Random(budget=2)(VisualTokens(tokens[0]))
    with pytest.raises(SettingError, match="aggregate=True: expected false"):
        Trim(budget=2)(VisualTokens(tokens, torch.randn(1, 9, 3)), Query(torch.randn(1, 3)))


def test_random_depends_on_seed_and_sample_only():
    tokens = torch.randn(1, 100, 4)

    def draw(seed, key):
        return Random(budget=10, seed=seed)(VisualTokens(tokens, key=key)).indices[0].tolist()

    assert draw(0, "a") == draw(0, "a")
    assert len({tuple(draw(seed, key)) for seed in (0, 1) for key in ("a", "b")}) == 4


def test_random_is_uniform():
    """Each of 20 tokens is kept 5 times in 20 draws on average; 4000 draws, five standard errors."""
    tokens = torch.randn(1, 20, 4)
    counts = torch.zeros(20)
    for i in range(4000):
        counts[Random(budget=5)(VisualTokens(tokens, key=str(i))).indices[0]] += 1
    assert (counts / 4000 - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_trim_aggregates_before_the_projector():
    torch.manual_seed(0)
    projector = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 5))
    tower, joint, query = torch.randn(1, 12, 6), torch.randn(1, 12, 3), Query(torch.randn(1, 3), sign=-1)
    with torch.no_grad():
        visual = VisualTokens(projector(tower), joint, tower, projector)
        kept = Trim(budget=4)(visual, query)
        scores = -(joint[0] @ query.embeddings[0])
        best = scores.topk(3).indices.sort().values
        rest = [i for i in range(12) if i not in best]
        wanted = torch.cat([visual.projected[0, best], projector(tower[0, rest].mean(dim=0, keepdim=True))])
    assert torch.equal(kept.indices[0], best)
    torch.testing.assert_close(kept.tokens[0], wanted)


def test_non_default_fields_name_the_variant():
    assert non_default_fields(Script(budget=8)) == {}
    assert non_default_fields(Random(budget=8, seed=3)) == {"seed": 3}
    assert non_default_fields(NoPruning()) == {}
    changed = Script(budget=8, graph=GraphRedundancy(threshold=0.5), padding="graph")
    assert non_default_fields(changed) == {"graph.threshold": 0.5, "padding": "graph"}
    assert non_default_fields(FastV(budget=8, layer=1, budget_as="after")) == {
        "layer": 1,
        "budget_as": "after",
    }

"""Errors for hyper-parameters out of range and for inputs that break the contract."""

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
from script_exp.pruners.contract.settings import non_default_fields


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Graph(budget=4, threshold=1.5), "threshold=1.5"),
        (lambda: Graph(budget=4, threshold="high"), "threshold=high"),
        (lambda: Graph(budget=4, gamma=-1), "gamma=-1"),
        (lambda: Graph(budget=4, gamma=200), "gamma=200"),
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


def test_missing_query_and_wrong_shapes():
    tokens = torch.randn(1, 9, 4)
    with pytest.raises(ValueError, match="needs the question"):
        Script(budget=2)(VisualTokens(tokens))
    with pytest.raises(ValueError, match="do not match"):
        Script(budget=2)(VisualTokens(tokens, torch.randn(1, 8, 3)), Query(torch.randn(1, 3)))
    with pytest.raises(ValueError, match=r"\(crops, n, d\)"):
        Random(budget=2)(VisualTokens(tokens[0]))


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

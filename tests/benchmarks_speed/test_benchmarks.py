"""The references of the micro-benchmarks compute what they stand for, and the benchmarks run.

No time is asserted.
"""

from __future__ import annotations

import json

import attention_row
import evaluation
import pytest
import references
import selection
import torch
import tower

from script_exp.pruners import QueryConditioned
from script_exp.pruners.arithmetic.dpp import greedy_map_torch
from script_exp.pruners.arithmetic.released_script import released_loop


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(selection, "_N", 60)
    monkeypatch.setattr(selection, "_WIDTH", 80)
    monkeypatch.setattr(selection, "_LOOPS", ((2, 12),))
    monkeypatch.setattr(selection, "_WHOLE", (3, 10))
    monkeypatch.setattr(attention_row, "_CASES", (("tiny", 30),))
    monkeypatch.setattr(tower, "_CASES", (("tiny", 1),))
    monkeypatch.setattr(evaluation, "_SCENES", 1)
    monkeypatch.setattr(evaluation, "_QUESTIONS", 9)


@pytest.mark.parametrize(("crops", "k"), [(1, 1), (3, 20)])
def test_references_pick_what_they_stand_for(small, crops, k):
    visual, query = selection.tokens(crops, torch.device("cpu"), seed=k)
    kernel = selection.kernel_of(visual, query)
    assert torch.equal(references.straightforward_map(kernel, k), greedy_map_torch(kernel, k))
    assert torch.equal(references.released_loop(kernel, k), released_loop(kernel, k))
    kept = QueryConditioned(budget=k)(visual, query).indices
    assert torch.equal(references.straightforward_query(visual, query, k), kept)


@pytest.mark.parametrize(
    ("benchmark", "ours", "others"),
    [
        (selection, "ours", {"straightforward", "released", "ours, plain torch"}),
        (evaluation, "ours", {"naive"}),
        (tower, "used layers", {"whole", "whole again"}),
        (attention_row, "unpruned", {"unpruned again", "row read", "one layer eager", "row alone"}),
    ],
)
def test_benchmarks_write_ratios_and_circumstances(small, tmp_path, capsys, benchmark, ours, others):
    benchmark.main(["--device", "cpu", "--repeats", "2", "--warm-up", "1", "--results", str(tmp_path)])
    (file,) = tmp_path.iterdir()
    report = json.loads(file.read_text())
    assert report["circumstances"].keys() >= {"device", "packages", "time", "load_average", "git"}
    assert (report["clock"], report["repeats"]) == ("wall", 2)
    case = report["cases"][0]
    assert case["ms"].keys() == {ours, *others}
    for name in others:
        ratio = case["ms"][name]["median"] / case["ms"][ours]["median"]
        assert case["times_ours"][name] == pytest.approx(ratio)
    assert case["case"] in capsys.readouterr().out

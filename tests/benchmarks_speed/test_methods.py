"""Every method's loop keeps and makes what the method does, and the benchmark of all methods runs.

No time is asserted.
"""

from __future__ import annotations

import json

import methods
import pytest
import selection
import torch

import script_exp.pruners as exported
from script_exp.pruners import Downsample, LayerPruner, NoPruning, Pruner, ScorePruner

CHOOSE_NOTHING = {NoPruning, Downsample}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(selection, "_N", 64)
    monkeypatch.setattr(selection, "_WIDTH", 80)
    monkeypatch.setattr(methods, "_TOWER", 40)
    monkeypatch.setattr(methods, "_K", 12)


@pytest.mark.parametrize("k", [12, 32, 56])
def test_loops_keep_and_make_the_same_tokens(small, k):
    visual, query = methods.image(torch.device("cpu"))
    compared = 0
    for name, (make, loop) in methods.METHODS.items():
        if loop is None:
            continue
        kept, outcome = make(budget=k)(visual, query), loop(visual, query, k)
        assert [indices for indices, _ in outcome] == kept.by_crop, name
        assert methods.same(kept, outcome) == 1
        alone = [len(indices) for indices, _ in outcome]
        rows = torch.cat([tokens[:count] for count, (_, tokens) in zip(alone, outcome, strict=True)])
        others = torch.cat([tokens[count:] for count, (_, tokens) in zip(alone, outcome, strict=True)])
        torch.testing.assert_close(rows, kept.rows, atol=1e-4, rtol=1e-4, msg=name)
        torch.testing.assert_close(others, kept.aggregated, atol=1e-4, rtol=1e-4, msg=name)
        compared += 1
    assert compared == len(methods.METHODS) - 1


def test_every_method_before_the_llm_is_measured():
    """But those that need a video."""
    classes = {getattr(exported, name) for name in exported.__all__}
    pruners = {one for one in classes if isinstance(one, type) and issubclass(one, Pruner)}
    assert not any(issubclass(one, LayerPruner) for one in pruners)
    of_images = {one for one in pruners if not one.needs_frames} - {Pruner, ScorePruner} - CHOOSE_NOTHING
    assert {make for make, _ in methods.METHODS.values()} == of_images


def test_it_writes_ratios_circumstances_and_a_table(small, tmp_path, capsys, monkeypatch):
    chosen = {name: methods.METHODS[name] for name in ("divprune", "visionzip", "script_released")}
    monkeypatch.setattr(methods, "METHODS", chosen)
    arguments = ["--device", "cpu", "--repeats", "2", "--warm-up", "1", "--results", str(tmp_path)]
    methods.main(arguments)
    report = json.loads((tmp_path / "methods-cpu.json").read_text())
    assert report["circumstances"].keys() >= {"device", "packages", "time", "load_average", "git"}
    assert (report["crops"], report["tokens"], report["k"], report["repeats"]) == (5, 64, 12, 2)
    assert [case["case"] for case in report["cases"]] == list(chosen)
    table = (tmp_path / "methods-cpu.md").read_text()
    assert table in capsys.readouterr().out
    for case, line in zip(report["cases"], table.splitlines()[2:], strict=True):
        ours = case["ms"]["ours"]["median"]
        if case["case"] == "script_released":
            assert (case["ms"].keys(), case["times_ours"]) == ({"ours"}, {})
            assert line == f"| `script_released` | {ours:.2f} |  |"
        else:
            ratio = case["ms"]["straightforward"]["median"] / ours
            assert case["times_ours"]["straightforward"] == pytest.approx(ratio)
            assert case["same_tokens"] == 1
            assert line == f"| `{case['case']}` | {ours:.2f} | {ratio:.2f}x |"


def test_a_loop_that_keeps_other_tokens_is_an_error(small, tmp_path, monkeypatch):
    wrong = {"fastervlm": (methods.METHODS["fastervlm"][0], methods.METHODS["stride"][1])}
    monkeypatch.setattr(methods, "METHODS", wrong)
    with pytest.raises(RuntimeError, match="fastervlm: the loop keeps only"):
        methods.main(["--device", "cpu", "--results", str(tmp_path)])

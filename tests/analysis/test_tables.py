"""The numbers in the tables against values computed from the result files by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.tables import accuracy_table, tables
from script_exp.results.read import load_runs

ROOT = Path(__file__).resolve().parents[2]


def save(
    outputs, pruner, budget, scores, *, variant="", partial=False, latency=10.0, baseline="full",
    weights="pretrained",
):  # fmt: skip
    """A finished run as the runner writes it, with these scores; ``baseline`` names the unpruned run."""
    folder = outputs / "tiny" / "shapes" / f"{pruner}-{budget}-{len(list(outputs.rglob('result.json')))}"
    folder.mkdir(parents=True)
    result = {
        "schema_version": 3,
        "status": "finished",
        "identity": baseline if pruner == "none" else folder.name,
        "unpruned_identity": baseline,
        "cell": {
            "model": "tiny", "benchmark": "shapes", "pruner": pruner, "budget": budget, "seed": 0,
            "variant": variant,
        },
        "accuracy": None if weights == "random" else {
            "metric": "mean", "scale": 100, "value": sum(scores) / len(scores), "n": len(scores),
            "ci95": [0.1, 0.9], "by_kind": {}, "partial": partial,
        },
        "tokens": {"visual": 576, "requested": budget, "kept": budget or 576, "layer_average": budget or 576},
        "flops": {"prefill_total": 3.5e9, "llm_visual_only": 1.5e9, "stages": {}},
        "kv_cache_bytes": 2**21,
        "latency": latency and {"llm_prefill_ms": latency, "ttft_ms": 20.0, "llm_prefill_speedup": 2.5},
        "peak_memory_bytes": None,
        "provenance": [{"checkpoint": "embedded", "weights": weights}],
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    lines = [json.dumps({"id": str(i), "unit": str(i), "score": score}) for i, score in enumerate(scores)]
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def outputs(tmp_path):
    save(tmp_path, "none", None, [1.0, 1.0, 1.0, 0.0])
    save(tmp_path, "script", 64, [1.0, 0.0, 1.0, 1.0])
    save(tmp_path, "script", 32, [1.0, 0.0, 1.0, 0.0], latency=None)
    save(tmp_path, "random", 64, [0.0, 0.0, 1.0, 0.0])
    return tmp_path


def test_accuracy_and_retained_share(outputs):
    (_, accuracy), (_, cost) = tables(load_runs(outputs).frame)
    assert list(accuracy.columns) == ["all", "64", "32"]
    assert list(accuracy.index) == ["none", "random", "script"]
    assert accuracy.loc["none", "all"] == "75.0"
    assert accuracy.loc["script", "64"] == "75.0 (100 %)"
    assert accuracy.loc["script", "32"] == "50.0 (67 %)"
    assert accuracy.loc["random", "32"] == ""
    row = cost[cost["budget"] == "64"].loc["script"]
    assert row["against unpruned"].startswith("+0.0 [")
    assert row["against unpruned"].endswith("-1 +1")
    assert (row["prefill, GFLOPs"], row["KV, MiB"], row["speed-up"]) == ("3.500", "2.00", "2.50x")


def test_what_was_not_measured_is_empty(outputs):
    (_, _), (_, cost) = tables(load_runs(outputs).frame)
    assert cost[cost["budget"] == "32"].loc["script", "LLM prefill, ms"] == ""


def test_partial_runs_and_variants_have_rows_of_their_own(outputs):
    save(outputs, "script", 64, [1.0, 1.0], partial=True, baseline="other")
    save(outputs, "script", 64, [0.0] * 4, variant="walk=3")
    save(outputs, "random", 64, [1.0] * 4)
    (_, accuracy), _ = tables(load_runs(outputs).frame)
    assert accuracy.loc["script, first 2", "64"] == "100.0"
    assert accuracy.loc["script (walk=3)", "64"] == "0.0 (0 %)"
    assert accuracy.loc["script", "64"] == "75.0 (100 %)"
    assert sorted(accuracy.loc[[name for name in accuracy.index if name.startswith("random #")], "64"]) == [
        "100.0 (133 %)", "25.0 (33 %)",
    ]  # fmt: skip


def test_random_weights_have_a_table_of_costs_alone(outputs):
    save(outputs, "script", 64, [], weights="random")
    found = dict(tables(load_runs(outputs).frame))
    title = next(title for title in found if "random weights: no accuracy" in title)
    assert len(found) == 3
    assert found[title].loc["script", "accuracy"] == found[title].loc["script", "95 % interval"] == ""
    assert found[title].loc["script", "KV, MiB"] == "2.00"


def test_a_table_needs_runs(tmp_path):
    assert load_runs(tmp_path).frame.empty
    assert load_runs(tmp_path / "nowhere").frame.empty


def test_damaged_and_foreign_results_are_named(outputs):
    damaged = save(outputs, "trim", 64, [1.0])
    (damaged / "result.json").write_text("{")
    newer = save(outputs, "trim", 32, [1.0])
    (newer / "result.json").write_text(
        (newer / "result.json").read_text().replace('"schema_version": 3', '"schema_version": 9')
    )
    runs = load_runs(outputs)
    assert len(runs.frame) == 4
    assert len(runs.problems) == 2
    assert "is damaged" in runs.problems[1]
    assert "schema version 9" in runs.problems[0]


def call(*arguments):
    command = [sys.executable, str(ROOT / "analysis" / "tables.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_run_is_compared_with_its_own_unpruned_run(outputs):
    save(outputs, "none", None, [1.0, 0.0, 0.0, 0.0], baseline="other")
    save(outputs, "trim", 64, [1.0, 0.0, 1.0, 0.0], baseline="other")
    (_, accuracy), _ = tables(load_runs(outputs).frame)
    assert accuracy.loc["trim", "64"] == "50.0 (200 %)"
    assert accuracy.loc["script", "64"] == "75.0 (100 %)"


def test_samples_that_cannot_be_read_are_one_sentence(outputs):
    next(outputs.rglob("script-64-*/samples.jsonl")).write_text("{")
    process = call(outputs)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "samples.jsonl cannot be read" in process.stderr


def test_formats(outputs):
    text = call(outputs)
    assert "75.0 (100 %)" in text.stdout
    assert "says nothing about 7B models" in text.stdout
    assert "+0.0 [" in text.stdout
    markdown = call(outputs, "--format", "markdown").stdout
    assert "| script |  | 75.0 (100 %) | 50.0 (67 %) |" in markdown
    latex = call(outputs, "--format", "latex").stdout
    assert r"script &  & 75.0 (100 \%) & 50.0 (67 \%) \\" in latex
    assert latex.count(r"\toprule") == latex.count(r"\end{tabular}") == 2


def test_filters(outputs):
    assert call(outputs, "--model", "tiny").returncode == 0
    nothing = call(outputs, "--model", "llava")
    assert nothing.returncode == 2
    assert "no finished runs" in nothing.stderr


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX installation")
def test_latex_compiles(outputs, tmp_path):
    body = call(outputs, "--format", "latex").stdout
    document = tmp_path / "table.tex"
    document.write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    )
    subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name], cwd=tmp_path, check=True
    )


def test_accuracy_table_alone_needs_labels(outputs):
    frame = load_runs(outputs).frame.assign(label=lambda runs: runs["pruner"])
    assert accuracy_table(frame).loc["script", "64"] == "75.0 (100 %)"

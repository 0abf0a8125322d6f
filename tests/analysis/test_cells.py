"""Which runs are comparable, and the number and interval of a cell, against values computed by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from made_runs import draw, save_grid, save_run
from scipy import stats

from script_exp.analysis.cells import make_cells, over_seeds, setup_title
from script_exp.analysis.efficiency import efficiency_tables
from script_exp.results.read import COLUMNS, load_runs
from script_exp.results.run_directory import RunDirectory

pytestmark = pytest.mark.filterwarnings("error")


def cells_of(outputs):
    return make_cells(load_runs(outputs).frame)


def test_columns_are_typed_and_what_was_not_measured_is_missing(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 0.0], latency=None, limit=2)
    frame = load_runs(tmp_path).frame
    assert {name: str(frame[name].dtype) for name in frame} == {
        name: kind for name, (kind, _) in COLUMNS.items()
    }
    for name in ("llm_prefill_ms", "ttft_ms", "prefill_speedup", "peak_mib", "vision_ms"):
        assert frame[name].isna().all()
    assert (frame["limit"][0], frame["partial"][0], frame["n"][0]) == (2, True, 2)


def test_no_runs(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        runs = load_runs(place)
        assert runs.frame.empty
        assert list(runs.frame) == list(COLUMNS)


def test_one_wrong_value_spoils_no_other_run(tmp_path):
    save_run(tmp_path, "none", None, [1.0])
    for key, value in (("kv_cache_bytes", "many"), ("tokens", {}), ("provenance", [])):
        folder = save_run(tmp_path, "trim", 64, [1.0])
        result = json.loads((folder / "result.json").read_text()) | {key: value}
        (folder / "result.json").write_text(json.dumps(result))
    runs = load_runs(tmp_path)
    assert len(runs.frame) == 1
    assert len(runs.problems) == 3
    assert all("trim-64" in problem and "is damaged" in problem for problem in runs.problems)


def test_failed_and_unfinished_runs_are_named(tmp_path):
    save_run(tmp_path, "none", None, [1.0])
    folder = tmp_path / "tiny" / "shapes" / "script-64-s0-abc"
    folder.mkdir()
    (folder / "status.json").write_text('{"state": "failed", "why": "OutOfMemoryError: 80 GiB"}')
    (problem,) = load_runs(tmp_path).problems
    assert problem == f"{folder} has no result: failed: OutOfMemoryError: 80 GiB"
    (folder / "status.json").write_text("{")
    (problem,) = load_runs(tmp_path).problems
    assert problem.startswith(f"{folder} has no result: damaged: {folder / 'status.json'}")


def test_a_run_that_was_killed_is_not_said_to_be_running(tmp_path):
    folder = tmp_path / "tiny" / "shapes" / "script-64-s0-abc"
    with RunDirectory(folder) as run:
        run.set_status("running")
    assert load_runs(tmp_path).problems == [f"{folder} has no result: running"]
    status = json.loads(run.status_file.read_text()) | {"pid": 2**22 + 1}  # above Linux's largest
    run.status_file.write_text(json.dumps(status))
    (problem,) = load_runs(tmp_path).problems
    assert problem.startswith(f"{folder} has no result: stopped: process {2**22 + 1} on ")


def test_shards_and_runs_that_were_started_over_are_no_runs(tmp_path):
    folder = save_run(tmp_path, "none", None, [1.0])
    for inside in ("shards/0-of-2", "shards/1-of-2"):
        (folder / inside).mkdir(parents=True)
        (folder / inside / "status.json").write_text('{"state": "finished", "why": null}')
    save_run(tmp_path / "replaced", "none", None, [0.0])
    runs = load_runs(tmp_path)
    assert list(runs.frame["accuracy"]) == [1.0]
    assert runs.problems == []


def test_retained_compares_with_the_runs_own_unpruned_run(tmp_path):
    save_run(tmp_path, "none", None, [1.0, 1.0, 1.0, 0.0])
    save_run(tmp_path, "none", None, [1.0, 0.0, 0.0, 0.0], dtype="bfloat16", baseline="half")
    save_run(tmp_path, "script", 64, [1.0, 0.0, 1.0, 0.0], dtype="bfloat16", baseline="half")
    save_run(tmp_path, "script", 64, [1.0, 1.0, 0.0, 0.0])
    save_run(tmp_path, "trim", 64, [1.0, 1.0, 0.0, 0.0], baseline="missing")
    cells = cells_of(tmp_path)
    frame = cells.frame.set_index(["dtype", "label"])
    assert frame.loc[("bfloat16", "script"), "retained"] == pytest.approx(200)
    assert frame.loc[("float32", "script"), "retained"] == pytest.approx(200 / 3)
    assert math.isnan(frame.loc[("float32", "trim"), "retained"])
    assert len(list(cells.setups())) == 2


def test_parts_of_a_benchmark_and_random_weights_are_setups_of_their_own(tmp_path):
    save_run(tmp_path, "script", 64, [1.0] * 4)
    save_run(tmp_path, "script", 64, [1.0] * 2, limit=2)
    save_run(tmp_path, "script", 64, [], weights="random", checkpoint="random")
    assert [len(setup) for setup in cells_of(tmp_path).setups()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("other", "columns"),
    [
        ({"benchmark_settings": {"protocol": "lmms", "on_error": "raise"}}, ["pope (llava)", "pope (lmms)"]),
        (
            {"benchmark_settings": {"protocol": "lmms", "protocol_version": "0.7.3", "on_error": "raise"}},
            ["pope (llava)", "pope (lmms, protocol_version 0.7.3)"],
        ),
        ({"prompt_version": 2}, ["pope (prompt 1)", "pope (prompt 2)"]),
        ({"protocol_version": 2}, ["pope (code 1)", "pope (code 2)"]),
        ({"benchmark_settings": {"protocol": "llava", "on_error": "skip"}}, ["pope"]),
    ],
)
def test_runs_of_two_protocols_never_share_a_column(tmp_path, other, columns):
    same = {"benchmark": "pope", "benchmark_settings": {"protocol": "llava", "on_error": "raise"}}
    save_run(tmp_path, "script", 64, [1.0, 0.0], **same)
    save_run(tmp_path, "random", 64, [1.0, 0.0], **same | other)
    save_run(tmp_path, "script", 64, [1.0, 0.0], benchmark="gqa")
    assert sorted(set(cells_of(tmp_path).frame["column"])) == ["gqa", *columns]


def test_two_runs_of_one_cell_are_named_and_told_apart(tmp_path):
    first = save_run(tmp_path, "script", 64, [1.0, 0.0], identity="aaaa")
    second = save_run(tmp_path, "script", 64, [1.0, 1.0], identity="bbbb")
    cells = cells_of(tmp_path)
    assert set(cells.frame["label"]) == {"script #aaaa", "script #bbbb"}
    (problem,) = cells.problems
    assert f"0.5000 ({first})" in problem
    assert f"1.0000 ({second})" in problem


def test_of_two_results_of_the_same_settings_the_newest_is_used(tmp_path):
    save_run(tmp_path / "a", "script", 64, [1.0, 1.0], identity="aaaa", time="2026-11-24T00:00:00+00:00")
    save_run(tmp_path / "b", "script", 64, [1.0, 0.0], identity="aaaa", time="2026-11-23T00:00:00+00:00")
    cells = cells_of(tmp_path)
    assert list(cells.frame["accuracy"]) == [100.0]
    assert "the newest, is used" in cells.problems[0]
    copied = tmp_path / "same"
    save_run(copied / "a", "script", 64, [1.0, 1.0], identity="aaaa")
    save_run(copied / "b", "script", 64, [1.0, 1.0], identity="aaaa")
    assert cells_of(copied).problems == []


def test_variants_are_rows_of_their_own_in_the_papers_order(tmp_path):
    save_grid(tmp_path, budgets=(64,))
    save_run(tmp_path, "script", 64, draw(3, 0.5), variant="walk=3")
    save_run(tmp_path, "divprune", 64, draw(4, 0.5))
    assert list(cells_of(tmp_path).frame["label"]) == [
        "none", "random", "divprune", "trim", "graph", "query", "script", "script (walk=3)",
    ]  # fmt: skip


def test_interval_over_seeds_by_hand(tmp_path):
    shares = [0.25, 0.5, 0.75]
    for seed, share in enumerate(shares):
        save_run(tmp_path, "random", 64, [float(i < 40 * share) for i in range(40)], seed=seed)
    (cell,) = (row for _, row in cells_of(tmp_path).frame.iterrows())
    between = 4.302653 * 25 / math.sqrt(3)  # Student's t of two degrees of freedom, deviation of 25 points
    assert (cell["seeds"], cell["accuracy"]) == (3, pytest.approx(50))
    assert cell["low"] == pytest.approx(50 - math.hypot(5, between))
    assert cell["high"] == pytest.approx(50 + math.hypot(8, between))


def test_seeds_that_change_nothing_do_not_widen_the_interval():
    frame = load_frame([(0.5, 0.4, 0.7)] * 4)
    assert over_seeds(frame) == pytest.approx((0.5, 0.4, 0.7))


def load_frame(rows):
    return pd.DataFrame(rows, columns=["accuracy", "ci_low", "ci_high"])


@pytest.mark.parametrize("seeds", [2, 3, 4, 11, 31, 60])
def test_the_error_between_seeds_is_students(seeds):
    values = np.random.default_rng(seeds).normal(0.5, 0.1, seeds)
    mean, low, high = over_seeds(load_frame([(value, value, value) for value in values]))
    expected = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(values.mean())


def test_titles_tell_setups_apart(tmp_path):
    for checkpoint in ("liuhaotian/a", "liuhaotian/b"):
        save_run(tmp_path, "script", 64, [1.0, 0.0], checkpoint=checkpoint)
    save_run(tmp_path, "script", 64, [1.0, 0.0], model="other", checkpoint="c")
    titles = [setup_title(setup) for setup in make_cells(load_runs(tmp_path).frame).setups()]
    assert titles == [
        "other, float32", "tiny, float32, checkpoint liuhaotian/a", "tiny, float32, checkpoint liuhaotian/b",
    ]  # fmt: skip


def changed(folder, **provenance):
    """Change what a made run says of its process."""
    result = json.loads((folder / "result.json").read_text())
    result["provenance"][-1] |= provenance
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("provenance", "titles"),
    [
        ({"attention": "eager"}, ["tiny, float32, attention eager", "tiny, float32, attention sdpa"]),
        ({"cuda": "13.0"}, ["tiny, float32, on cpu", "tiny, float32, on cuda"]),
        ({"compile": "default"}, ["tiny, float32, compiled (default)", "tiny, float32"]),
        ({"dtype": "float16"}, ["tiny, float16", "tiny, float32"]),
        (
            {"attention": "eager", "cuda": "13.0", "checkpoint": "b"},
            [
                "tiny, float32, checkpoint a, on cpu, attention sdpa",
                "tiny, float32, checkpoint b, on cuda, attention eager",
            ],
        ),
    ],
)
def test_whatever_tells_two_tables_apart_is_in_their_titles(tmp_path, provenance, titles):
    for change in ({}, provenance):
        changed(save_run(tmp_path, "script", 64, [1.0, 0.0], checkpoint="a"), **change)
    setups = make_cells(load_runs(tmp_path).frame).setups()
    assert sorted(map(setup_title, setups)) == sorted(titles)


def test_titles_say_what_else_limits_a_table(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 0.0], limit=2)
    save_run(tmp_path, "script", 64, [1.0, 0.0], weights="random", checkpoint="a")
    titles = {setup_title(setup) for setup in make_cells(load_runs(tmp_path).frame).setups()}
    assert titles == {
        "tiny, float32, checkpoint embedded; the embedded tiny model: says nothing about 7B models; only the "
        "first 2 samples",
        "tiny, float32, checkpoint a; random weights: no accuracy",
    }


def test_a_table_has_no_column_for_what_was_not_measured(tmp_path):
    save_run(tmp_path, "none", None, [1.0, 0.0], latency=None)
    save_run(tmp_path, "script", 64, [1.0, 0.0], latency=None)
    (table,) = efficiency_tables(make_cells(load_runs(tmp_path).frame))
    assert table.columns == ["Method", "Tokens", "Prefill, GFLOPs", "LLM visual, GFLOPs", "KV, MiB"]
    assert all(len(row.entries) == 5 for group in table.groups for row in group.rows)

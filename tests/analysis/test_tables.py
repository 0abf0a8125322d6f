"""The numbers in the tables, against values computed from samples.jsonl by separate, slow code."""

from __future__ import annotations

import csv
import html.parser
import itertools
import json
import random
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from made_runs import draw, save_grid, save_run
from processes import ROOT

from script_exp.analysis.accuracy import accuracy_tables, budget_tables
from script_exp.analysis.cells import make_cells
from script_exp.analysis.efficiency import efficiency_tables
from script_exp.analysis.published import load_published
from script_exp.analysis.render import latex, markdown, text, write_document, write_tables
from script_exp.analysis.significance import PairedTests, ablation_tables, pair_tables, unpruned_tables
from script_exp.analysis.table import Entry, Group, Row, Table, mark_best
from script_exp.results.read import load_runs

BENCHMARKS = ("gqa", "pope", "textvqa")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    save_grid(folder, BENCHMARKS)
    return folder


@pytest.fixture(scope="module")
def cells(outputs):
    return make_cells(load_runs(outputs).frame)


def mean(outputs, pruner, budget, benchmark):
    """The mean score in percent, from the samples."""
    (file,) = outputs.glob(f"tiny/{benchmark}/{pruner}-{budget}-*/samples.jsonl")
    scores = [json.loads(line)["score"] for line in file.read_text().splitlines()]
    return 100 * sum(scores) / len(scores), scores


def rows_of(table, heading):
    (group,) = [group for group in table.groups if group.heading.startswith(heading)]
    return {row.entries[0].text: row.entries for row in group.rows}


def test_accuracy_of_every_cell(outputs, cells):
    (table,) = accuracy_tables(cells)
    assert table.columns == ["Method", "Tokens", "gqa, %", "pope, %", "textvqa, %", "Retained, %"]
    assert [group.heading for group in table.groups] == [
        "Unpruned", "64 tokens, 88.9 % removed", "32 tokens, 94.4 % removed",
    ]  # fmt: skip
    for budget in (64, 32):
        rows = rows_of(table, f"{budget} tokens")
        assert list(rows) == ["random", "trim", "graph", "query", "script"]
        for pruner, entries in rows.items():
            values = [mean(outputs, pruner, budget, name)[0] for name in BENCHMARKS]
            full = [mean(outputs, "none", None, name)[0] for name in BENCHMARKS]
            assert [entry.text for entry in entries[2:5]] == [f"{value:.1f}" for value in values]
            assert entries[1].text == str(budget)
            shares = [100 * value / whole for value, whole in zip(values, full, strict=True)]
            assert entries[5].text == f"{sum(shares) / 3:.1f}"
            assert entries[2].small == "±6.5"  # the made interval reaches from 5 below to 8 above


def test_best_and_second_of_every_column(cells):
    (table,) = accuracy_tables(cells)
    for group in table.groups[1:]:
        for column in range(2, 6):
            values = [float(row.entries[column].text) for row in group.rows]
            ranked = sorted(set(values), reverse=True)
            for row, value in zip(group.rows, values, strict=True):
                assert row.entries[column].place == {ranked[0]: 1, ranked[1]: 2}.get(value, 0)


def test_equal_as_printed_is_equal():
    entries = [Entry("79.2"), Entry("79.2"), Entry("70.0"), Entry(), Entry("99.0†")]
    marked = mark_best(entries, [79.21, 79.19, 70.0, None, None])
    assert [entry.place for entry in marked] == [1, 1, 2, 0, 0]
    assert [entry.place for entry in mark_best([Entry("1.0"), Entry()], [1.0, None])] == [0, 0]


def test_holes_are_shown(tmp_path):
    save_grid(tmp_path, BENCHMARKS)
    for file in tmp_path.glob("tiny/pope/query-64-*"):
        shutil.rmtree(file)
    for file in tmp_path.glob("tiny/*/trim-32-*"):
        shutil.rmtree(file)
    (table,) = accuracy_tables(make_cells(load_runs(tmp_path).frame))
    query = rows_of(table, "64 tokens")["query"]
    assert query[3] == Entry()
    assert query[5].small == "(2 of 3)"
    assert query[5].place == 0
    assert [entry.text for entry in rows_of(table, "32 tokens")["trim"]] == ["trim", "", "", "", "", ""]
    assert "| trim | – | – | – | – | – |" in markdown(table)


def test_by_budget(outputs, cells):
    tables = {table.title.split(",")[0]: table for table in budget_tables(cells)}
    assert set(tables) == set(BENCHMARKS)
    full, _ = mean(outputs, "none", None, "pope")
    table = tables["pope"]
    assert table.columns == ["Method", "64", "32"]
    assert table.groups[0].heading == f"Unpruned, 576 tokens: {full:.1f} ±6.5"
    for row in table.groups[0].rows:
        for entry, budget in zip(row.entries[1:], (64, 32), strict=True):
            value, _ = mean(outputs, row.entries[0].text, budget, "pope")
            assert (entry.text, entry.small) == (f"{value:.1f}", f"({100 * value / full:.0f} %)")


def test_costs(outputs, cells):
    tables = efficiency_tables(cells)
    assert len(tables) == 3
    script = dict(zip(tables[0].columns[:6], rows_of(tables[0], "64 tokens")["script"], strict=False))
    (file,) = outputs.glob("tiny/gqa/script-64-*/result.json")
    result = json.loads(file.read_text())
    whole = json.loads(next(outputs.glob("tiny/gqa/none-*/result.json")).read_text())
    total, full = result["flops"]["prefill_total"], whole["flops"]["prefill_total"]
    assert script["Prefill, GFLOPs"] == Entry(f"{total / 1e9:.2f}", f"({100 * total / full:.0f} %)")
    share = 100 * result["kv_cache_bytes"] / whole["kv_cache_bytes"]
    assert script["KV, MiB"] == Entry(f"{result['kv_cache_bytes'] / 2**20:.2f}", f"({share:.0f} %)")
    latency = result["latency"]
    assert script["LLM prefill, ms"] == Entry(f"{latency['llm_prefill_ms']:.1f}")
    entries = rows_of(tables[0], "64 tokens")["script"]
    assert entries[6].text == f"{latency['llm_prefill_speedup']:.2f}×"
    assert entries[7].text == f"{latency['ttft_ms']:.1f}"
    assert entries[8].text == f"{latency['ttft_speedup']:.2f}×"
    assert entries[9].text == "8.0"


def test_what_was_not_measured_is_a_hole(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 0.0], latency=None)
    save_run(tmp_path, "random", 64, [1.0, 0.0])
    (table,) = efficiency_tables(make_cells(load_runs(tmp_path).frame))
    entries = rows_of(table, "64 tokens")["script"]
    assert [entry.text for entry in entries[5:]] == [""] * 5
    assert entries[2].text  # FLOPs are there


def test_devices_have_tables_of_their_own(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 0.0], device="GPU A")
    save_run(tmp_path, "random", 64, [1.0, 0.0], device="GPU B")
    tables = efficiency_tables(make_cells(load_runs(tmp_path).frame))
    assert [[row.entries[0].text for row in table.groups[0].rows] for table in tables] == [
        ["script"], ["random"],
    ]  # fmt: skip
    assert len(accuracy_tables(make_cells(load_runs(tmp_path).frame))) == 1


def slow_p_values(first, second):
    """McNemar by listing all outcomes of the flips, and a small paired bootstrap over pairs of samples."""
    flips = [a - b for a, b in zip(first, second, strict=True) if a != b]
    won = sum(flip > 0 for flip in flips)
    count = len(flips)
    as_extreme = [ways for ways in range(count + 1) if abs(ways - count / 2) >= abs(won - count / 2)]
    exact = sum(len(list(itertools.combinations(range(count), ways))) for ways in as_extreme) / 2**count
    units = [sum(first[i : i + 2]) - sum(second[i : i + 2]) for i in range(0, len(first), 2)]
    source = random.Random(0)
    draws = [sum(source.choices(units, k=len(units))) for _ in range(4000)]
    below = sum(value <= 0 for value in draws) / len(draws)
    above = sum(value >= 0 for value in draws) / len(draws)
    return exact, min(1.0, 2 * min(below, above)), won, count - won


def test_significance_against_the_unpruned_model(outputs, cells):
    tests = PairedTests(cells)
    (table,) = unpruned_tables(cells, tests)
    data = table.data.set_index(["benchmark", "pruner", "budget"])
    assert len(data) == 30
    holm = {}
    for key in [("gqa", "script", 64), ("pope", "trim", 64), ("textvqa", "query", 64)]:
        benchmark, pruner, budget = key
        value, scores = mean(outputs, pruner, budget, benchmark)
        full, before = mean(outputs, "none", None, benchmark)
        exact, bootstrap, won, lost = slow_p_values(scores, before)
        row = data.loc[key]
        assert row["difference"] == pytest.approx(value - full)
        assert (row["better"], row["worse"]) == (won, lost)
        assert row["p_mcnemar"] == pytest.approx(exact)
        assert row["p_paired"] == pytest.approx(bootstrap, abs=0.08)
        holm[key] = row["p_mcnemar_holm"]
        shown = rows_of(table, f"{benchmark}, {budget} tokens")[pruner]
        assert shown[1].text == f"{value - full:+.1f}"
        assert (shown[3].text, shown[4].text) == (str(lost), str(won))
    ordered = data["p_mcnemar"].sort_values()
    steps = [(len(ordered) - i) * p for i, p in enumerate(ordered)]
    expected = dict(zip(ordered.index, itertools.accumulate(steps, max), strict=True))
    for key, value in holm.items():
        assert value == pytest.approx(min(1, expected[key]))
    assert tests.problems == []


def test_significance_between_two_methods(outputs, cells):
    (table,) = pair_tables(cells, PairedTests(cells), "script")
    data = table.data.set_index(["benchmark", "pruner", "budget"])
    assert len(data) == 3 * 2 * 4
    value, scores = mean(outputs, "random", 64, "pope")
    script, others = mean(outputs, "script", 64, "pope")
    row = data.loc[("pope", "random", 64)]
    assert row["difference"] == pytest.approx(value - script)
    assert row["p_mcnemar"] == pytest.approx(slow_p_values(scores, others)[0])
    assert pair_tables(cells, PairedTests(cells), "nothing") == []


def test_ablation(outputs, cells):
    tables = {table.title: table for table in ablation_tables(cells, PairedTests(cells))}
    (table,) = [table for title, table in tables.items() if "on gqa" in title]
    rows = {row.entries[0].text: [entry.text for entry in row.entries[1:3]] for row in table.groups[0].rows}
    assert rows == {"random": ["", ""], "graph": ["✓", ""], "query": ["", "✓"], "script": ["✓", "✓"]}
    graph, script = mean(outputs, "graph", 32, "gqa")[0], mean(outputs, "script", 32, "gqa")[0]
    (entry,) = [row.entries[4] for row in table.groups[0].rows if row.entries[0].text == "graph"]
    assert entry.text == f"{graph:.1f}"
    assert entry.small.rstrip(")").rstrip("*") == f"({graph - script:+.1f}"


def test_several_seeds_are_compared_together(tmp_path):
    save_grid(tmp_path, ("gqa",), budgets=(64,), seeds=(0, 1))
    cells = make_cells(load_runs(tmp_path).frame)
    (table,) = pair_tables(cells, PairedTests(cells), "script")
    row = table.data.set_index("pruner").loc["random"]
    values = {
        (pruner, seed): next(tmp_path.glob(f"tiny/gqa/{pruner}-64-s{seed}-*/samples.jsonl"))
        for pruner in ("random", "script")
        for seed in (0, 1)
    }
    scores = {
        key: [json.loads(line)["score"] for line in file.read_text().splitlines()]
        for key, file in values.items()
    }
    means = {key: 100 * sum(one) / len(one) for key, one in scores.items()}
    expected = sum(means["random", seed] - means["script", seed] for seed in (0, 1)) / 2
    assert row["difference"] == pytest.approx(expected)
    pairs = [zip(scores["random", seed], scores["script", seed], strict=True) for seed in (0, 1)]
    assert row["worse"] == sum(a < b for pair in pairs for a, b in pair)
    assert pd.isna(row["p_mcnemar"])


def test_one_run_is_compared_with_every_seed_of_another(tmp_path):
    save_run(tmp_path, "none", None, draw(9, 0.9))
    save_run(tmp_path, "script", 64, draw(8, 0.7))
    drawn = [draw(seed, 0.5) for seed in range(3)]
    for seed, scores in enumerate(drawn):
        save_run(tmp_path, "random", 64, scores, seed=seed)
    cells = make_cells(load_runs(tmp_path).frame)
    tests = PairedTests(cells)
    for (table,), other in ((pair_tables(cells, tests, "script"), draw(8, 0.7)),
                            (unpruned_tables(cells, tests), draw(9, 0.9))):  # fmt: skip
        row = table.data.set_index("pruner").loc["random"]
        assert row["difference"] == pytest.approx(100 * (np.mean(drawn) - np.mean(other)))
        assert row["worse"] == sum(a < b for scores in drawn for a, b in zip(scores, other, strict=True))
    retained = cells.frame.set_index("label").loc["random", "retained"]
    assert retained == pytest.approx(100 * np.mean(drawn) / np.mean(draw(9, 0.9)))
    assert tests.problems == []


def test_seeds_that_only_one_method_has_are_named(tmp_path):
    for pruner, seeds in (("random", (0, 1, 2)), ("mine", (1, 2, 3)), ("other", (4,))):
        for seed in seeds:
            scores = draw([seed, len(pruner)], 0.5)
            save_run(tmp_path, pruner, 64, scores, seed=seed, settings={"seed": seed})
    cells = make_cells(load_runs(tmp_path).frame)
    tests = PairedTests(cells)
    for _ in range(2):
        pair_tables(cells, tests, "mine")
    assert tests.problems == [
        f"{name} and mine on shapes at 64: they have {own} and 3 seeds, of which only the {common} in common "
        "are compared"
        for name, common, own in (("random", 2, 3), ("other", 0, 1))
    ]


@pytest.mark.parametrize(
    ("budget", "tokens", "heading"),
    [
        (64, {"visual": 2304.0, "offered": 2880.0, "budget_crops": 5.0},
         "64 tokens per crop, 88.9 % removed"),
        (0.1, {"visual": 2304.0, "offered": 2880.0, "budget_crops": 5.0},
         "10 % of the tokens, 90.0 % removed"),
        (81, {"visual": 6661.0, "offered": 6661.0, "crops": 21.0, "budget_crops": 10.0},
         "81 tokens per crop, 87.8 % removed"),
        (64, {"visual": 400.0, "offered": 400.0}, "64 tokens, 84.0 % removed"),
        (64, {"visual": 50.0, "offered": 50.0}, "64 tokens, 0.0 % removed"),
    ],
    ids=["padding is cut off", "a share of it", "crops are scaled down", "any size", "less than k"],
)  # fmt: skip
def test_the_share_removed_is_of_the_tokens_to_choose_from(tmp_path, budget, tokens, heading):
    save_run(tmp_path, "script", budget, draw(1, 0.5), tokens=tokens)
    (table,) = accuracy_tables(make_cells(load_runs(tmp_path).frame))
    assert [group.heading for group in table.groups] == [heading]


def test_tokens_that_a_method_inside_the_llm_has_beyond_its_budget_are_named(tmp_path):
    crops = {"visual": 2304.0, "offered": 2880.0, "crops": 5.0, "budget_crops": 5.0, "kept": 320.0}
    save_run(tmp_path, "fastv", 64, draw(1, 0.5), tokens=crops | {"layer_average": 900.4})
    save_run(tmp_path, "fastv", 32, draw(2, 0.5), tokens=crops | {"layer_average": 700.0})
    save_run(tmp_path, "script", 64, draw(3, 0.5), tokens=crops | {"layer_average": 320.0})
    (table,) = budget_tables(make_cells(load_runs(tmp_path).frame))
    (note,) = [note for note in table.notes if "mean over the LLM's layers" in note]
    assert note == "fastv at 64, 32: 900, 700 tokens, mean over the LLM's layers."


def test_methods_with_more_tokens_than_the_budget_are_not_ranked_with_the_others(tmp_path):
    save_grid(tmp_path, BENCHMARKS)
    for name in BENCHMARKS:  # right everywhere, with three times the tokens
        save_run(tmp_path, "fastv", 64, [1.0] * 40, benchmark=name, tokens={"layer_average": 192.0})
        save_run(tmp_path, "pyramid", 64, draw(2, 0.5), benchmark=name, tokens={"layer_average": 66.0})
    cells = make_cells(load_runs(tmp_path).frame)
    (table,) = accuracy_tables(cells)
    rows = rows_of(table, "64 tokens")
    assert [entry.place for entry in rows["fastv"]] == [0] * 6
    assert sum(entry.place == 1 for name, row in rows.items() for entry in row if name != "fastv") >= 4
    assert "Not ranked: methods with more tokens than the budget, mean over the LLM's layers." in table.notes
    for table in budget_tables(cells):
        same, more = table.groups
        assert [row.entries[0].text for row in more.rows] == ["fastv"]
        assert more.heading == "More tokens than the budget, mean over the LLM's layers"
        assert more.rows[0].entries[1].place == 0  # alone in its group
        assert "pyramid" in [row.entries[0].text for row in same.rows]  # 66 is about 64
        assert {entry.place for row in same.rows for entry in row.entries[1:]} == {0, 1, 2}


def test_samples_that_cannot_be_read_are_a_hole_and_named(tmp_path):
    save_grid(tmp_path, ("gqa",), budgets=(64,))
    next(tmp_path.glob("tiny/gqa/query-64-*/samples.jsonl")).write_text("{")
    next(tmp_path.glob("tiny/gqa/trim-64-*/samples.jsonl")).write_text(
        '{"id": "7", "score": 1, "unit": "7"}\n'
    )
    cells = make_cells(load_runs(tmp_path).frame)
    tests = PairedTests(cells)
    (table,) = unpruned_tables(cells, tests)
    rows = rows_of(table, "gqa, 64")
    assert [entry.text for entry in rows["query"][1:]] == [""] * 6
    assert rows["graph"][1].text
    assert len(tests.problems) == 2
    assert any("samples.jsonl cannot be read" in problem for problem in tests.problems)
    assert any("did not answer the same samples" in problem for problem in tests.problems)


def test_a_metric_that_is_not_registered_is_shown_but_not_compared(tmp_path):
    save_grid(tmp_path, budgets=(0.25,), metric="mine", scale=1)
    cells = make_cells(load_runs(tmp_path).frame)
    (table,) = budget_tables(cells)
    assert table.title.startswith("shapes, mine, by budget")
    assert table.columns == ["Method", "25 %"]
    tests = PairedTests(cells)
    assert unpruned_tables(cells, tests) == []
    assert {one.split(": ")[1] for one in tests.problems} == {
        "metric mine is not in METRICS of script_exp/benchmarks"
    }
    (ablation,) = ablation_tables(cells, tests)
    assert [row.entries[0].text for row in ablation.groups[0].rows] == ["random", "graph", "query", "script"]


def test_titles_say_what_the_numbers_are_worth(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 0.0])
    save_run(tmp_path, "script", 64, [1.0], limit=1)
    save_run(tmp_path, "script", 64, [], weights="random", checkpoint="random")
    cells = make_cells(load_runs(tmp_path).frame)
    titles = [table.title for table in accuracy_tables(cells)]
    assert len(titles) == 2
    assert all("says nothing about 7B models" in title for title in titles)
    assert sum("only the first 1 samples" in title for title in titles) == 1
    costs = [table.title for table in efficiency_tables(cells)]
    assert any("random weights: no accuracy" in title for title in costs)


def test_skipped_samples_are_marked_and_not_ranked(tmp_path):
    save_run(tmp_path, "script", 64, [1.0, 1.0, 1.0], skipped=1)
    save_run(tmp_path, "random", 64, [1.0, 0.0, 0.0, 0.0])
    save_run(tmp_path, "graph", 64, [1.0, 1.0, 0.0, 0.0])
    (table,) = accuracy_tables(make_cells(load_runs(tmp_path).frame))
    rows = rows_of(table, "64 tokens")
    assert (rows["script"][2].text, rows["script"][2].place) == ("100.0†", 0)
    assert rows["graph"][2].place == 1
    assert any(note.startswith("†") for note in table.notes)


def test_published_numbers_are_gray_and_never_ranked(tmp_path):
    same = {"model": "llava_1_5_7b", "checkpoint": "/m", "benchmark_settings": {"protocol": "llava"}}
    save_grid(tmp_path, ("gqa", "pope"), **same)
    cells = make_cells(load_runs(tmp_path).frame)
    (plain,) = accuracy_tables(cells)
    (table,) = accuracy_tables(cells, load_published())
    ours = [[row for row in group.rows if not row.reference] for group in table.groups]
    assert ours == [group.rows for group in plain.groups]
    gray = {
        row.entries[0].text: row.entries for row in table.groups[2].rows if row.reference
    }  # those at 32 tokens
    assert [entry.text for entry in gray["CDPruner [1]"]] == ["CDPruner [1]", "", "57.0", "87.1", ""]
    assert all(entry.place == 0 for entries in gray.values() for entry in entries)
    assert any(note.startswith("[1] EADP") for note in table.notes)
    assert len(table.data) == len(plain.data)
    assert r"\textcolor{gray}{57.0}" in latex(table)
    assert '<tr class="reference">' in page_of(table)


@pytest.mark.parametrize(
    "other", [{"benchmark_settings": {"protocol": "lmms"}}, {"limit": 10}, {"model": "tiny"}]
)
def test_published_numbers_stand_beside_comparable_ones_alone(tmp_path, other):
    same = {"model": "llava_1_5_7b", "checkpoint": "/m", "benchmark_settings": {"protocol": "llava"}}
    save_grid(tmp_path, ("gqa", "pope"), **same | other)
    (table,) = accuracy_tables(make_cells(load_runs(tmp_path).frame), load_published())
    assert not any(row.reference for group in table.groups for row in group.rows)


def test_published_numbers_have_a_source_each():
    published = load_published()
    assert published[["model", "method", "tokens", "benchmark", "value", "source"]].notna().all(axis=None)
    assert not published.duplicated(["model", "method", "tokens", "benchmark", "source"]).any()
    next_7b = published[published["model"] == "llava_next_7b"]
    assert (next_7b["budget"].isna() | (next_7b["tokens"] == 5 * next_7b["budget"])).all()


AWKWARD = Table(
    name="awkward",
    title="50 % of a_b & c#1 {x} \\ ~ ^ $ | <b>",
    columns=["Method", "a_b, %"],
    groups=[
        Group("x_y <", [Row([Entry("m|n_1 #2"), Entry("1.0", "±2.0 %", 1)]), Row([Entry("z"), Entry()])])
    ],
    data=pd.DataFrame({"a": [1.0]}),
    notes=["[1] first", "[2] 5 % & more"],
)


def page_of(table):
    from script_exp.analysis.render import page

    return page([table])


def test_formats_escape_what_means_something_to_them():
    assert "m\\|n_1 #2 | **1.0** ±2.0 % |" in markdown(AWKWARD)
    assert r"m|n\_1 \#2 & \textbf{1.0} {\scriptsize $\pm$2.0 \%} \\" in latex(AWKWARD)
    page = page_of(AWKWARD)
    assert "&lt;b&gt;" in page
    assert "<b>1.0</b> <small>±2.0 %</small>" in page
    assert "–" in text(AWKWARD)
    html.parser.HTMLParser().feed(page)


def test_all_formats_hold_the_same_entries(cells, tmp_path):
    tables = accuracy_tables(cells)
    files = {file.suffix: file for file in write_tables(tables, tmp_path)}
    assert set(files) == {".md", ".tex", ".html", ".csv"}
    with files[".csv"].open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * (1 + 2 * 5)
    for ending in (".md", ".tex", ".html"):
        content = files[ending].read_text()
        for group in tables[0].groups:
            for row in group.rows:
                assert all(entry.text in content for entry in row.entries)
    by_key = {(row["benchmark"], row["pruner"], row["budget"]): float(row["accuracy"]) for row in rows}
    shown = float(rows_of(tables[0], "64 tokens")["script"][2].text)
    assert round(by_key["gqa", "script", "64.0"], 1) == shown


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (texlive-latex-recommended)")
def test_latex_compiles(cells, tmp_path):
    save_run(tmp_path / "more", "script", 64, draw(1, 0.5), latency=None)
    tests = PairedTests(cells)
    names = []
    for tables in (
        accuracy_tables(cells, load_published()), budget_tables(cells), efficiency_tables(cells),
        ablation_tables(cells, tests), unpruned_tables(cells, tests), pair_tables(cells, tests, "script"),
        [AWKWARD],
    ):  # fmt: skip
        write_tables(tables, tmp_path)
        names.append(tables[0].name)
    document = write_document(names, tmp_path)
    process = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-2000:]
    assert "Overfull \\hbox" not in process.stdout
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_notes_say_how_often_the_intervals_hold(tmp_path):
    """As docs/interval_coverage.csv has it."""
    coverage = pd.read_csv(ROOT / "docs" / "interval_coverage.csv").query("interval == 'ours'")
    of_a_metric = coverage[~coverage["quantity"].str.startswith("difference")]
    of_a_difference = coverage[coverage["quantity"].str.startswith("difference")]
    lowest = [
        f"{100 * of_a_metric.query(chosen)['coverage'].min():.0f} %"
        for chosen in ("accuracy <= 0.9", "accuracy == 0.95", "accuracy == 0.99")
    ]
    save_grid(tmp_path, budgets=(64,))
    cells = make_cells(load_runs(tmp_path).frame)
    (accuracy,) = accuracy_tables(cells)
    most, high, highest = lowest
    said = f"at worst in {most} for accuracies of 50 to 90 %, {high} at 95 % and {highest} at 99 %."
    assert said in " ".join(accuracy.notes)
    (against,) = unpruned_tables(cells, PairedTests(cells))
    worst = f"{100 * of_a_difference['coverage'].min():.0f} %"
    assert f"covers the truth at worst in {worst} of the cases." in " ".join(against.notes)
    assert sorted(set(coverage["units"]))[:: len(set(coverage["units"])) - 1] == [5, 500]


def test_a_test_that_nothing_allows_has_no_column(tmp_path):
    """McNemar's test is not made over several seeds."""
    save_grid(tmp_path, budgets=(64,), seeds=(0, 1))
    frame = load_runs(tmp_path).frame
    cells = make_cells(frame[frame["pruner"].isin(["none", "random"])])
    (table,) = unpruned_tables(cells, PairedTests(cells))
    assert table.columns == ["Method", "Difference", "95 % interval", "Worse", "Better", "p, paired"]

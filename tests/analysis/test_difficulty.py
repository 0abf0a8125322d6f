"""Questions split by what a downsample run answers: against a count by hand, and what is left out."""

from __future__ import annotations

import sys
from math import sqrt

import pytest
from made_runs import draw, save_run
from scipy import stats

from script_exp.analysis.cells import make_cells
from script_exp.analysis.difficulty import difficulty_tables
from script_exp.commands.make import main
from script_exp.results.read import load_runs

SMALLER = [1, 1, 0, 0, 1, 0.5, 0.3, 0]  # answers samples 0, 1, 4 and 5: units 0 and 2
SCRIPT = [1, 0, 1, 0, 1, 1, 0, 0]


def made(folder):
    return difficulty_tables(make_cells(load_runs(folder).frame))


def wilson(by_unit):
    """The interval in %, written from its definition; ``by_unit`` has the scores of each unit."""
    units, scores = len(by_unit), [score for own in by_unit for score in own]
    p = sum(scores) / len(scores)
    without = []
    for left_out in range(units):
        rest = [score for unit, own in enumerate(by_unit) if unit != left_out for score in own]
        without.append(sum(rest) / len(rest))
    middle = sum(without) / units
    variance = (units - 1) / units * sum((one - middle) ** 2 for one in without)
    n, t = p * (1 - p) / variance, stats.t.ppf(0.975, units - 1)
    half = t * sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    return [100 * (p + t**2 / (2 * n) + sign * half) / (1 + t**2 / n) for sign in (-1, 1)]


def test_both_groups_against_a_count_by_hand(tmp_path):
    save_run(tmp_path, "none", None, [1, 1, 1, 0, 1, 1, 1, 1])
    save_run(tmp_path, "downsample", 64, SMALLER)
    save_run(tmp_path, "downsample", 32, [0] * 7 + [1])
    save_run(tmp_path, "script", 64, SCRIPT)
    save_run(tmp_path, "script", 32, SCRIPT)
    save_run(tmp_path, "random", 64, [1, 0, 0, 0, 0, 0, 0, 0.5], seed=0)
    save_run(tmp_path, "random", 64, [1, 1, 0, 1, 1, 0, 0, 0.5], seed=1)
    [table], problems = made(tmp_path)
    assert problems == []
    assert [group.heading for group in table.groups] == [
        "shapes, 64 tokens: 4 answered, 4 not",
        "shapes, 32 tokens: 1 answered, 7 not",
    ]
    data = table.data.set_index(["budget", "method"])
    means = data[["answered", "not_answered"]].T.to_dict("list")
    assert means == {
        (64, "none"): [100, 75],
        (64, "random"): [50, 25],  # 25 and 75, and 12.5 and 37.5
        (64, "script"): [75, 25],
        (32, "none"): [100, pytest.approx(600 / 7)],
        (32, "script"): [0, pytest.approx(400 / 7)],
    }
    ours = data.loc[64, "script"]
    assert ours[["answered_low", "answered_high"]].tolist() == pytest.approx(wilson([[1, 0], [1, 1]]))
    assert ours[["not_answered_low", "not_answered_high"]].tolist() == pytest.approx(wilson([[1, 0], [0, 0]]))
    others = data.loc[32, "script"][["not_answered_low", "not_answered_high"]].tolist()
    assert others == pytest.approx(wilson([[1, 0], [1, 0], [1, 1], [0]]))
    seeds = data.loc[64, "random"]
    below = [25 - wilson([[1, 0], [0, 0]])[0], 75 - wilson([[1, 1], [1, 0]])[0]]
    between = stats.t.ppf(0.975, 1) * 25  # the standard error of 25 and 75
    assert seeds["answered_low"] == pytest.approx(50 - sqrt((sum(below) / 2) ** 2 + between**2))
    assert ours["answered_units"] == 2
    rows = [[entry.text for entry in row.entries] for group in table.groups for row in group.rows]
    assert rows[2] == ["script", "75.0", "25.0"]
    assert [entry.place for entry in table.groups[0].rows[2].entries] == [0, 1, 1]
    single = table.groups[1].rows[1].entries[1]
    assert (single.text, single.small) == ("0.0", "")  # one unit has no interval


def test_a_smaller_picture_that_answers_everything(tmp_path):
    save_run(tmp_path, "downsample", 64, [1] * 8)
    tables, [problem] = made(tmp_path)
    assert tables == []
    assert problem.endswith("there is no run beside downsample")
    save_run(tmp_path, "script", 64, SCRIPT)
    [table], _ = made(tmp_path)
    assert [entry.text for entry in table.groups[0].rows[0].entries] == ["script", "50.0", ""]


def test_the_command_says_what_is_left_out(tmp_path, capsys, monkeypatch):
    runs, to = tmp_path / "runs", tmp_path / "made"
    save_run(runs, "none", None, draw(1, 0.9))
    save_run(runs, "script", 64, draw(2, 0.8))
    save_run(runs, "script", 32, draw(3, 0.7))
    lacking = "expected one finished downsample run over the whole benchmark: there is none"
    tables, problems = made(runs)
    assert tables == []
    assert [problem.endswith(lacking) for problem in problems] == [True, True]
    assert problems[1].startswith("difficulty of shapes at 32 tokens (tiny, float32; the embedded tiny model")

    folder = save_run(runs, "downsample", 64, draw(4, 0.6))
    save_run(runs, "<i>mine & yours", 64, draw(5, 0.6))
    save_run(runs, "trim", 64, draw(6, 0.6), skipped=1)
    save_run(runs, "downsample", 32, draw(7, 0.6), skipped=1)
    save_run(runs, "graph", 64, draw(8, 0.6), weights="random")
    save_run(runs, "query", 64, draw(9, 0.6), benchmark_settings={"protocol": "other"})
    save_run(runs, "fastv", 64, draw(10, 0.6, count=30))
    words = [runs, "--to", to, "--figures", "off", "--difficulty", "--strict"]
    monkeypatch.setattr(sys, "argv", ["make.py", *map(str, words)])
    assert main() == 1
    text, told = (to / "tables/difficulty.md").read_text(), capsys.readouterr().err
    for present in ("shapes, 64 tokens:", "none", "script", r"\<i>mine & yours"):
        assert present in text
    for absent in ("trim", "graph", "query", "fastv", "32 tokens"):
        assert absent not in text
    for why in ("it is partial", "its weights are random", "did not answer the same samples as downsample"):
        assert why in told
    assert told.count(lacking) == 2  # at 32 tokens, and for the other protocol
    assert {file.suffix for file in (to / "tables").glob("difficulty.*")} == {".md", ".tex", ".html", ".csv"}

    cells = make_cells(load_runs(runs).frame.assign(run_dir=None))
    assert "its samples are not there, as for runs of Weights" in " ".join(difficulty_tables(cells)[1])
    (folder / "samples.jsonl").unlink()
    assert "samples.jsonl cannot be read: it is missing" in " ".join(made(runs)[1])
    save_run(runs, "downsample", 64, draw(11, 0.6), variant="mine")
    assert "whole benchmark: downsample, downsample (mine)" in " ".join(made(runs)[1])

"""The command: which files it writes, which runs it takes, and how it reports the others."""

from __future__ import annotations

import itertools
import json
import shutil
from types import SimpleNamespace

import pytest
from commands import imports
from made_runs import draw, save_grid, save_run
from processes import ROOT, run

from script_exp.analysis import experiment
from script_exp.analysis.experiment import of_experiment
from script_exp.config.command_line import CONF
from script_exp.errors import UserError
from script_exp.results.read import load_runs
from script_exp.results.read_wandb import load_wandb


def call(*arguments, script="analysis/make.py"):
    return run(*arguments, script=script)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save_grid(folder, ("gqa", "pope"))
    save_grid(folder, ("gqa",), model="llava_1_5_7b", checkpoint="/m")
    return folder


def rows(folder):
    """Model, benchmark and pruner of the runs that the tables were made of."""
    import pandas as pd

    table = pd.read_csv(folder / "tables" / "accuracy.csv")
    return {name: set(table[name]) for name in ("model", "benchmark", "pruner")}


def test_tables_and_figures_are_written_and_torch_is_not_imported(outputs, tmp_path):
    process, modules = imports("analysis/make.py", outputs, "--to", tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "torch" not in modules
    assert "Accuracy (tiny, float32; the embedded tiny model" in process.stdout
    names = ["ablation", "accuracy", "against_script", "against_unpruned", "by_budget", "efficiency"]
    assert sorted({file.stem for file in (tmp_path / "tables").glob("*.md")}) == names
    assert (tmp_path / "tables" / "all.tex").exists()
    assert (tmp_path / "figures" / "accuracy_by_budget-llava_1_5_7b-m.pdf").exists()
    assert rows(tmp_path)["model"] == {"tiny", "llava_1_5_7b"}


@pytest.mark.parametrize(
    ("form", "marks"),
    [
        ("text", ["Accuracy (tiny", "Cost per question of gqa (tiny"]),
        ("markdown", ["**Accuracy (tiny", "| Method |", "|:--|"]),
        ("latex", [r"\caption{Accuracy (tiny", r"\caption{Cost per question of gqa (tiny", r"\toprule"]),
    ],
)
def test_tables_are_printed_alone(outputs, form, marks):
    before = set(outputs.rglob("*"))
    process = call(outputs, "--format", form, script="analysis/tables.py")
    assert process.returncode == 0, process.stderr
    assert [mark for mark in marks if mark not in process.stdout] == []
    assert set(outputs.rglob("*")) == before


def test_a_single_unit_has_no_interval(tmp_path):
    """Nothing is known about others then: neither a width of zero nor nan is printed."""
    for pruner, budget in [("none", None), ("random", 64), ("script", 64), ("script", 32)]:
        save_run(tmp_path / "runs", pruner, budget, [1.0, 0.0], limit=2)
    process = call(tmp_path / "runs", "--to", tmp_path / "to")
    assert process.returncode == 0
    assert process.stderr.count("all samples belong to one unit, so nothing tells how much units differ") == 4
    table = (tmp_path / "to" / "tables" / "accuracy.md").read_text()
    assert "| script | 64 | **50.0** | **100.0** |" in table
    by_budget = (tmp_path / "to" / "tables" / "by_budget.md").read_text()
    assert "| *Unpruned, 576 tokens: 50.0* |" in by_budget
    assert not any("nan" in text for text in (table, by_budget))
    assert (tmp_path / "to" / "figures" / "accuracy_by_budget.svg").exists()


def test_the_default_folder_is_not_read_as_runs(outputs):
    for _ in range(2):
        assert call(outputs, "--figures", "off").returncode == 0
    assert (outputs / "analysis" / "tables" / "accuracy.tex").exists()
    assert len(load_runs(outputs).frame) == 33


def test_filters(outputs, tmp_path):
    arguments = ["--to", tmp_path, "--figures", "off"]
    process = call(outputs, *arguments, "--model", "tiny", "--benchmark", "gqa", "--pruner", "script")
    assert process.returncode == 0, process.stderr
    assert rows(tmp_path) == {"model": {"tiny"}, "benchmark": {"gqa"}, "pruner": {"none", "script"}}
    assert call(outputs, *arguments, "--budget", "32").returncode == 0
    tokens = (tmp_path / "tables" / "accuracy.md").read_text()
    assert "*32 tokens" in tokens
    assert "*Unpruned*" in tokens
    assert "*64 tokens" not in tokens
    older = call(outputs, *arguments, "--pruner", "trim").stdout.splitlines()
    assert (
        f"{tmp_path / 'tables'} also has older files, perhaps of other runs: ablation, against_script"
        in older
    )
    wrong = call(outputs, *arguments, "--budget", "16")
    assert wrong.stderr == "error: --budget=16: expected one with a finished run: 32, 64\n"
    wrong = call(outputs, *arguments, "--pruner", "none,scirpt")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "error: --pruner=scirpt: expected one with a finished run: graph, none, query, random, script, trim\n"
    )


def test_runs_of_an_experiment(tmp_path):
    save_grid(tmp_path, budgets=(64, 50))
    save_run(tmp_path, "script", 64, draw(0, 0.5), limit=40)
    frame = load_runs(tmp_path).frame
    readme = of_experiment(frame, "readme")
    assert set(readme["budget"].dropna()) == {64}
    assert readme["limit"].isna().all()
    assert set(readme["pruner"]) == {"none", "random", "graph", "query", "script", "trim"}
    assert list(of_experiment(frame, "smoke").index) == []
    with pytest.raises(UserError, match=r"experiment=redme: expected one of .*did you mean readme"):
        of_experiment(frame, "redme")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write an experiment into a copy of conf; its runs of some made ones."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    monkeypatch.setattr(experiment, "CONF", conf)
    outputs = tmp_path / "outputs"
    save_run(outputs, "none", None, [1.0])
    for budget, threshold, seed in itertools.product((64, 32, 0.05), (0.2, 0.3), (0, 1)):
        settings = {"threshold": threshold, "seed": seed}  # as if it drew
        save_run(outputs, "graph", budget, [1.0], settings=settings, seed=seed)
    save_run(outputs, "pyramid", 64, [1.0], settings={"stages": [8, 16]}, dtype="float16")
    for query_text in ("bare", "released"):
        save_run(outputs, "query", 16, [1.0], query_text=query_text)
    save_run(outputs, "visionzip-fastv", 48, [1.0])
    frame = load_runs(outputs).frame

    def chosen(text, name="mine", unpruned=True):
        (conf / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
        runs = of_experiment(frame, name)
        assert ("none" in set(runs["pruner"])) == unpruned
        pruned = runs[runs["pruner"] != "none"]
        settings = [json.loads(one) for one in pruned["pruner_settings"]]
        return sorted(
            (budget, one.get("threshold"), seed)
            for budget, one, seed in zip(pruned["budget"], settings, pruned["seed"], strict=True)
        )

    return chosen


def sweep(**params):
    """The part of an experiment's file that sweeps."""
    return json.dumps({"hydra": {"sweeper": {"params": params}}})


def test_what_an_experiment_sets_for_all_its_cells(own):
    fixed = "defaults:\n  - override /pruner: graph\npruner:\n  threshold: 0.3\nseed: 0\nbudget: 32\n"
    assert own(f"{fixed}latency: off\n") == [(32, 0.3, 0)]
    assert own("defaults:\n  - mine\nseed: 1\n", "based") == [(32, 0.3, 1)]
    assert own("dtype: float32\nbudget: 64\n") == [(64, t, s) for t in (0.2, 0.3) for s in (0, 1)]
    assert len(own("dtype: float16\nbudget: 64\n", unpruned=False)) == 1
    assert own("budget: 16\n") == [(16, None, 0), (16, None, 0)]
    assert own("query_text: released\nbudget: 16\n") == [(16, None, 0)]
    assert len(own("query_text: released\nbudget: 32\n")) == 4  # graph does not ask
    with pytest.raises(UserError, match="experiment=mine: cannot choose runs by group; expected model,"):
        own("group: other\n")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"pruner": "graph", "seed": "0", "budget": "64,0.05"},
         [(0.05, 0.2, 0), (0.05, 0.3, 0), (64, 0.2, 0), (64, 0.3, 0)]),
        ({"pruner": "graph", "seed": "range(1,3)", "budget": "choice(32,16)"}, [(32, 0.2, 1), (32, 0.3, 1)]),
        ({"pruner.threshold": "0.3,0.5", "budget": 32, "seed": "choice(0,1)"}, [(32, 0.3, 0), (32, 0.3, 1)]),
        ({"pruner": "pyramid", "pruner.stages": "[4,8,12],[8,16]"}, [(64, None, 0)]),
        ({"pruner": "pyramid", "seed": "1,2"}, [(64, None, 0)]),  # it does not draw
        ({"pruner": "pyramid", "pruner.stages": "[4,8,12],[8]"}, []),
        ({"pruner": "composed,graph", "budget": 48}, [(48, None, 0)]),
    ],
)  # fmt: skip
def test_every_way_to_write_a_sweep(own, params, expected):
    assert own(sweep(**params)) == expected


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_experiment_can_be_asked_for(outputs, file):
    runs = load_runs(outputs).frame
    chosen = of_experiment(runs, file.stem)
    assert list(chosen.columns) == list(runs.columns)


def test_what_no_run_has_is_told(outputs, tmp_path):
    wrong = call(outputs, "--figures", "off", "--to", tmp_path, "--reference", "nope")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --reference=nope: expected one of graph, none, query")
    wrong = call(outputs, "--figures", "off", "--to", tmp_path, "--experiment", "paper_llava_next")
    assert wrong.returncode == 2
    assert "none of the 33 finished runs matches experiment=paper_llava_next; " in wrong.stderr


def test_no_runs(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        process = call(place)
        assert process.returncode == 2
        assert process.stderr == f"error: no finished runs in {place}; python runners/run.py makes one\n"


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_bad_runs_are_named_and_the_rest_is_made(tmp_path, options, code):
    save_grid(tmp_path, ("gqa",), budgets=(64,))
    damaged = save_run(tmp_path, "fastv", 64, [1.0] * 40, benchmark="gqa")
    (damaged / "result.json").write_text("{")
    newer = save_run(tmp_path, "pyramid", 64, [1.0] * 40, benchmark="gqa")
    result = json.loads((newer / "result.json").read_text()) | {"schema_version": 9}
    (newer / "result.json").write_text(json.dumps(result))
    save_run(tmp_path, "trim", 64, [1.0] * 40, benchmark="gqa", identity="another")
    next(tmp_path.glob("tiny/gqa/query-64-*/samples.jsonl")).unlink()
    process = call(tmp_path, "--figures", "off", *options)
    assert process.returncode == code
    left_out = process.stderr.splitlines()
    assert len(left_out) == 4  # query is compared twice, and named once
    for place, why in (
        (damaged, "is damaged"),
        (newer, "schema version 9"),
        ("trim at 64, seed 0", "several runs of one cell"),
        ("query-64", "samples.jsonl cannot be read"),
    ):
        assert any(str(place) in line for line in left_out), process.stderr
        assert any(why in line for line in left_out)
    accuracy = (tmp_path / "analysis" / "tables" / "accuracy.md").read_text()
    assert "| query | 64 |" in accuracy
    assert "fastv" not in accuracy


def test_a_folder_that_cannot_be_written(outputs, tmp_path):
    (tmp_path / "file").touch()
    process = call(outputs, "--to", tmp_path / "file", "--figures", "off")
    assert process.returncode == 2
    assert process.stderr.startswith("error: cannot read or write")
    assert len(process.stderr.splitlines()) == 1


def run_of(name, state="finished", **summary):
    return SimpleNamespace(id=name, state=state, summary=summary)


def test_a_wandb_project_gives_the_frame_of_its_results(tmp_path):
    folder = save_run(tmp_path, "script", 64, [1.0, 0.0])
    result = (folder / "result.json").read_text()
    runs = [
        run_of("good", result=result),
        run_of("crashed", "crashed"),
        run_of("foreign", loss=1.0),
        run_of("old", result='{"schema_version": 1}'),
        run_of("torn", result="{"),
    ]
    read = load_wandb("me/mine", SimpleNamespace(runs=lambda project: runs))
    assert list(read.frame["place"]) == ["W&B run me/mine/good"]
    assert read.frame["accuracy"].item() == 0.5
    problems = " ".join(read.problems)
    for name, why in (
        ("crashed", "has no result: crashed"), ("foreign", "no result in its summary"),
        ("old", "has schema version 1"), ("torn", "is damaged"),
    ):  # fmt: skip
        assert f"me/mine/{name}" in problems
        assert why in problems


def test_a_wandb_project_that_cannot_be_read():
    import wandb

    def fail(project):
        raise wandb.errors.CommError("project not found")

    with pytest.raises(UserError, match=r"--wandb=me/mine: cannot be read .*project not found"):
        load_wandb("me/mine", SimpleNamespace(runs=fail))
    with pytest.raises(UserError, match="expected entity/project"):
        load_wandb("mine", SimpleNamespace(runs=fail))


@pytest.mark.slow
def test_ten_thousand_runs(tmp_path):
    """All but the paired tests, of which so many at once could tell nothing."""
    made = save_run(tmp_path / "one", "script", 64, draw(1, 0.7))
    template = json.loads((made / "result.json").read_text())
    pruners = ["none", "random", "graph", "query", "script", "trim", "fastv"]
    count = 0
    for model, benchmark, seed, pruner, budget in itertools.product(
        range(3), range(16), range(6), pruners, range(1, 7)
    ):
        if pruner == "none" and budget > 1:
            continue
        cell = template["cell"] | {
            "model": f"model{model}", "benchmark": f"bench{benchmark}", "seed": seed, "pruner": pruner,
            "budget": None if pruner == "none" else 32 * budget,
        }  # fmt: skip
        unpruned = f"{model}-{benchmark}-{seed}"
        identity = unpruned if pruner == "none" else f"run{count}"
        result = template | {"cell": cell, "identity": identity, "unpruned_identity": unpruned}
        folder = tmp_path / "many" / cell["model"] / cell["benchmark"] / f"{pruner}-{count}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
        count += 1
    process = call(tmp_path / "many", "--figures", "off")
    assert process.returncode == 0
    accuracy = (tmp_path / "many" / "analysis" / "tables" / "accuracy.md").read_text()
    assert accuracy.count("| script |") == 3 * 6
    assert process.stderr.count(" 576 comparisons; a table has at most 250") == 3
    assert count > 10_000

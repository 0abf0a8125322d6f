"""The status of all runs, and of an experiment's cells."""

from __future__ import annotations

import json

import pytest
from processes import run

from runners import status
from script_exp.results.files import write_json
from script_exp.results.run_directory import RunDirectory

QUICK = ["latency=off", "unpruned=off", "benchmark.scenes=1", "limit=2"]


@pytest.fixture
def outputs(tmp_path):
    """One run that is finished, one that failed, one that is running (here)."""
    folder = tmp_path / "tiny" / "shapes"
    finished = folder / "none-s0-a"
    with RunDirectory(finished) as run:
        run.set_status("finished")
        write_json(run.result_file, {})
    with RunDirectory(folder / "script-64-s0-b") as run:
        run.set_status("failed", "RuntimeError: out of luck")
        (run.path / "run.log").write_text("first\nTraceback\nRuntimeError: out of luck\n")
    with RunDirectory(folder / "graph-64-s0-c") as run:
        run.set_progress(before=0, total=40)
        run.samples_file.write_text("{}\n" * 10)
        state = json.loads(run.status_file.read_text())
        state["progress"]["since"] = "2020-01-01T00:00:00+00:00"
        state["job"] = "13_4"
        run.status_file.write_text(json.dumps(state))
    return tmp_path


def test_all_runs(outputs, capsys):
    assert status.main([str(outputs)]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"{outputs}: 1 finished, 1 running, 1 failed")
    assert "10 of 40 samples" in text
    assert "left" in text
    assert "job 13_4" in text
    assert "script-64-s0-b: RuntimeError: out of luck" in text
    assert "    | Traceback" in text


def test_nothing_there(tmp_path, capsys):
    assert status.main([str(tmp_path)]) == 1
    assert "no runs" in capsys.readouterr().out
    assert status.main([str(tmp_path / "missing")]) == 2
    assert "expected the folder that the runs were written to" in capsys.readouterr().err


def test_an_experiment_lacks_cells_until_it_is_finished(tmp_path, capsys):
    arguments = ["pruner=none,random", "budget=64,16", *QUICK]
    question = [str(tmp_path), "--experiment", "module_ablation", *arguments]
    assert status.main(question) == 1
    text = capsys.readouterr().out
    assert "3 missing" in text
    assert "missing: pruner=random budget=16" in text
    sweep = run("experiment=module_ablation", *arguments, "dtype=bfloat16", f"outputs={tmp_path}")
    assert sweep.returncode == 0, sweep.stderr
    # dtype=auto is float32 here; there, as on another machine, it was something else
    assert status.main(question) == 0
    assert "3 finished" in capsys.readouterr().out
    assert status.main([*question, "dtype=float32"]) == 1
    assert "3 missing" in capsys.readouterr().out


def test_a_cell_that_cannot_be_run_is_told_before_it_is(tmp_path, capsys):
    assert status.main([str(tmp_path), "--experiment", "smoke", "budget=600"]) == 1
    text = capsys.readouterr().out
    assert "invalid: experiment=smoke" in text
    assert "budget=600: expected at most 576" in text


def test_a_benchmark_that_is_not_there_is_a_cell_that_cannot_be_run(tmp_path, capsys):
    question = [str(tmp_path), "--experiment", "smoke", "benchmark=shapes,pope", f"data={tmp_path}"]
    assert status.main(question) == 1
    text = capsys.readouterr().out
    assert "1 invalid, 1 missing" in text
    assert f"invalid: benchmark=pope: benchmark.data={tmp_path}/pope: expected a folder" in text


def test_wrong_questions(tmp_path, capsys):
    assert status.main([str(tmp_path), "--experiment", "smok"]) == 2
    assert "did you mean smoke" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        status.main(["--experimnt", "smoke"])


def test_ten_thousand_finished_runs_are_counted_without_reading_them(tmp_path, capsys):
    for number in range(10_000):
        path = tmp_path / "tiny" / f"shapes{number % 10}" / f"script-64-s{number}-0123456789"
        path.mkdir(parents=True)
        (path / "status.json").write_text(
            '{"state": "finished", "why": null, "host": "a", "pid": 1, "job": null}'
        )
        (path / "result.json").write_text("not read")
        (path / "samples.jsonl").write_text("not read")
    assert status.main([str(tmp_path)]) == 0
    assert "10000 finished" in capsys.readouterr().out

"""runners/score.py grades a finished MM-Vet run, called as by a user."""

from __future__ import annotations

import json

import pytest
from judge_server import KEY, Script, judge_server
from official import finished, run, run_benchmark
from test_mmvet import write_llava


def grade(question):
    """The answer about a dish is half right, the others are right."""
    return "0.5" if "dish" in question.split("\n")[-1] else "1.0"


def test_a_finished_run_is_graded_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    write_llava(tmp_path / "data" / "mm-vet")
    run_dir, result, _ = finished(run_benchmark("mmvet", tmp_path, f"data={tmp_path / 'data'}"))
    assert result["accuracy"] is None
    with judge_server(Script(grade)) as script:
        settings = [f"benchmark.judge.url={script.url}", "benchmark.judge.key_variable=JUDGE_KEY"]
        process = run(run_dir, *settings, "benchmark.judge.model=grader-1", script="runners/score.py")
        assert process.returncode == 0, process.stderr
        assert len(script.asked) == 5
    result = json.loads((run_dir / "result.json").read_text())
    assert result["accuracy"]["metric"] == "mm_vet"
    assert result["accuracy"]["value"] == pytest.approx(4.5 / 5)
    (entry,) = result["rescored"]
    assert entry["settings"]["judge"]["model"] == "grader-1"
    assert result["rule_version"] == 1
    contents = [path.read_bytes() for path in run_dir.rglob("*") if path.is_file()]
    assert len(contents) >= 6
    assert not [one for one in contents if KEY.encode() in one]
    assert KEY not in process.stdout + process.stderr
    # a judge that fails leaves everything as it was
    before = (run_dir / "result.json").read_bytes(), (run_dir / "samples.jsonl").read_bytes()
    process = run(run_dir, "benchmark.judge.tries=1", script="runners/score.py")
    assert process.returncode == 1
    assert "no reply from the judge" in process.stderr
    assert before == ((run_dir / "result.json").read_bytes(), (run_dir / "samples.jsonl").read_bytes())
    # and the run itself is found as it was
    again = run_benchmark("mmvet", tmp_path, f"data={tmp_path / 'data'}")
    assert "already finished" in again.stderr

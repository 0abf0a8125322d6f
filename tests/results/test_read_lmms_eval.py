"""Results that lmms-eval wrote, in the table of runs and beside ours."""

from __future__ import annotations

import json

import pytest
from made_runs import draw, save_run
from processes import run

from script_exp.errors import UserError
from script_exp.results.read_lmms_eval import load_lmms_eval


def write(folder, name, arguments, lines, task="mmstar", model="script_exp", limit=None):
    """What ``lmms-eval --log_samples`` leaves of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model": model, "model_args": arguments, "limit": limit, "gen_kwargs": ""}
    results = {"config": config, "lmms_eval_version": "0.7.3", "date": name, "results": {}}
    (folder / f"{name}_results.json").write_text(json.dumps(results))
    (folder / f"{name}_samples_{task}.jsonl").write_text(
        "".join(
            json.dumps({"doc_id": n, "target": "A", "resps": [["A"]], **line}) + "\n" for n, line in lines
        )
    )


def scored(scores):
    """Lines in any order, with a metric that only some have and one whose entries have a score."""
    lines = [(n, {"average": {"score": score, "l2": "x"}}) for n, score in enumerate(scores)]
    lines[0][1]["math"] = {"score": 1.0}
    return lines[::-1]


def test_their_runs_beside_ours(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    common = "pretrained=embedded,batch_size=8"
    write(theirs / "embedded", "1", common, scored([1, 1, 0, 1]))
    pruned = f"{common.replace('8', '4')},pruner=script,budget=0.25,pruner.walk=3"
    write(theirs / "embedded", "2", pruned, scored([1, 0, 0, 1]))
    write(theirs / "llava", "3", "pretrained=/m/llava-1.5-7b-hf", scored([1, 1]), model="llava_hf", limit=2.0)
    runs = load_lmms_eval(theirs)
    assert runs.problems == []
    one, two, three = (row for _, row in runs.frame.iterrows())
    first = ["lmms-mmstar", "none", 0.75, "mean"]
    assert one[["benchmark", "pruner", "accuracy", "metric"]].tolist() == first
    assert one["ci_low"] < 0.75 < one["ci_high"]
    settings = {
        "harness": "lmms-eval",
        "protocol": "lmms",
        "protocol_version": "0.7.3",
        "score_of": "average",
    }
    assert json.loads(one["benchmark_settings"]) == settings
    assert (two["pruner"], two["budget"], two["variant"]) == ("script", 0.25, "walk=3")
    assert two["unpruned_identity"] == one["identity"] != two["identity"]
    assert (three["model"], three["limit"], three["partial"]) == ("llava-1.5-7b-hf", 2, True)
    assert three["identity"] not in (one["identity"], two["identity"])

    save_run(ours, "none", None, draw(1, 0.9))
    made = run(ours, "--lmms", theirs, script="analysis/make.py")
    assert made.returncode == 0, made.stderr
    assert "lmms-mmstar" in made.stdout
    assert "shapes" in made.stdout
    assert "66.7" in made.stdout  # what script retains


def test_results_that_are_not_right(tmp_path):
    with pytest.raises(UserError, match="expected what lmms-eval wrote to its --output_path"):
        load_lmms_eval(tmp_path)
    write(tmp_path, "1", "", [(0, {"submission": {"answer": "A"}})])
    write(tmp_path, "2", "", [])
    (tmp_path / "2_samples_mmstar.jsonl").unlink()
    write(tmp_path, "3", "", [(0, {"points": 20})])
    write(tmp_path, "4", "", scored([1]))
    (tmp_path / "4_results.json").write_text('{"config": 3}')
    frame, problems = (lambda runs: (runs.frame, runs.problems))(load_lmms_eval(tmp_path))
    assert frame.empty
    assert "no metric scores every answer from 0 to 1" in problems[0]
    assert "expected results with --log_samples" in problems[1]
    assert "no metric scores" in problems[2]
    assert "is damaged" in problems[3]
